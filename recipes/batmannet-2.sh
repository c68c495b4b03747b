#!/bin/sh
# The bundled encoder batmannet-2 from the public molecules on: `sh recipes/batmannet-2.sh` (hours on 2 cores; the same
# command goes on after an interruption). PROCESSES=1 for one GPU or one core. Needs the extra `descriptors`, and the
# tables zinc_clean_leads and chembl_diverse in the folder MESOMER_DATA (docs/benchmarks.md; its whole path): neither is
# fetched. Works in the clone, wherever it is called from, and ends with the model folder runs/batmannet-2 there.
set -e
cd -- "$(dirname -- "$0")/.."
processes=${PROCESSES:-2}
mkdir -p corpora runs
[ -e corpora/drug_like.csv.gz ] || python recipes/drug_like.py corpora/drug_like.csv.gz
mesomer prepare corpora/drug_like.csv.gz --output corpora/drug_like --add descriptors,fingerprints,inchikeys
OMP_NUM_THREADS=1 torchrun --nproc_per_node "$processes" -m mesomer pretrain corpora/drug_like \
    --config recipes/batmannet-2-masked.yaml --output runs/batmannet-2-masked
OMP_NUM_THREADS=1 torchrun --nproc_per_node "$processes" -m mesomer pretrain corpora/drug_like \
    --config recipes/batmannet-2-descriptors.yaml --init runs/batmannet-2-masked --output runs/batmannet-2-descriptors
OMP_NUM_THREADS=1 torchrun --nproc_per_node "$processes" -m mesomer pretrain corpora/drug_like \
    --config recipes/batmannet-2.yaml --init runs/batmannet-2-descriptors --output runs/batmannet-2-fragments
OMP_NUM_THREADS=1 torchrun --nproc_per_node "$processes" -m mesomer pretrain corpora/drug_like \
    --config recipes/batmannet-2.yaml --init runs/batmannet-2-fragments --output runs/batmannet-2-again
OMP_NUM_THREADS=1 torchrun --nproc_per_node "$processes" -m mesomer pretrain corpora/drug_like \
    --config recipes/batmannet-2.yaml --epochs 3 --init runs/batmannet-2-again --output runs/batmannet-2-last
[ -e runs/batmannet-2 ] || python recipes/graft_summary.py runs/batmannet-2-last runs/batmannet-2
