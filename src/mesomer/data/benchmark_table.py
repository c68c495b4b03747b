"""The benchmark sets that Mesomer knows: one entry each, nothing but facts.

Rows, sums and digests are those of the tables that the reference results were made with. A public address leads to the
original file; `conversion` makes our table of it. Sets without an address are found in the folder that MESOMER_DATA
names; `source` says where they come from.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from mesomer.data.conversion import Conversion

_PUBLIC = "https://deepchemdata.s3-us-west-1.amazonaws.com/datasets/"


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """What is known of one set."""

    name: str
    rows: int
    sha256: str
    """Of the file as it lies in the offline folder."""
    source: str
    folder: str = "molecules"
    targets: tuple[str, ...] = ()
    """Target columns; empty with a `target_count`: every column but the SMILES."""
    target_count: int = 0
    task: str = ""
    """`binary` or `regression`; empty for a corpus without labels."""
    metrics: tuple[str, ...] = ()
    """The metric that the set is judged by, the first one first; several tasks: its mean over tasks."""
    split: str = ""
    """The customary split: `scaffold`, `random`, or `column` (the set brings its own)."""
    url: str | None = None
    conversion: Conversion = field(default_factory=Conversion)
    digest: str = ""
    """`table_digest` of our table, to compare a converted file with; only with a `url`."""
    canonical: bool = False
    """Whether published chiral scaffold splits of this set take the scaffolds of canonical SMILES."""
    notes: tuple[str, ...] = ()
    """What must be said where results are shown."""

    @property
    def file(self) -> str:
        """Path of the table inside the offline folder."""
        return f"{self.folder}/{self.name}.csv.gz"

    @property
    def num_targets(self) -> int:
        """Number of target columns."""
        return self.target_count or len(self.targets)


_GROVER = "tencent-ailab/grover exampledata/finetune/"
_ADME = "molecularinformatics/Computational-ADME MPNN/"
_CONFLICTS = "64 duplicates, 86 when stereo is ignored; 10 molecules (13) carry conflicting labels"
_APPROXIMATE = "a set of 3-D structures: the SMILES are approximate"

# Four of these RDKit refuses; the two cobalamins only older versions did. The published table has none of the six.
_NOT_IN_CLINTOX = frozenset(
    {
        "c1ccc(cc1)n2c(=O)c(c(=O)n2c3ccccc3)CCS(=O)c4ccccc4",
        "CCCCc1c(=O)n(n(c1=O)c2ccc(cc2)O)c3ccccc3",
        "CCCCc1c(=O)n(n(c1=O)c2ccccc2)c3ccccc3",
        "[NH4][Pt]([NH4])(Cl)Cl",
        "Cc1cc2c(cc1C)N3C=N2[Co]456(N7=C8[C@H](C(C7=CC9=N4C(=C(C1=N5[C@@]([C@@H]2N6C(=C8C)[C@@]([C@H]2CC(=O)N)"
        "(CCC(=O)NC[C@H](OP(=O)(O[C@@H]2[C@H](O[C@H]3[C@@H]2O)CO)O)C)C)([C@@]([C@@H]1CCC(=O)N)(C)CC(=O)N)C)C)"
        "[C@@]([C@@H]9CCC(=O)N)(C)CC(=O)N)(C)C)CCC(=O)N)C#N",
        "Cc1cc2c(cc1C)N3C=N2[Co+]456(N7=C8[C@H](C(C7=CC9=N4C(=C(C1=N5[C@@]([C@@H]2N6C(=C8C)[C@@]([C@H]2CC(=O)N)"
        "(CCC(=O)NC[C@H](OP(=O)(O[C@@H]2[C@H](O[C@H]3[C@@H]2O)CO)[O-])C)C)([C@@]([C@@H]1CCC(=O)N)(C)CC(=O)N)C)C)"
        "[C@@]([C@@H]9CCC(=O)N)(C)CC(=O)N)(C)C)CCC(=O)N)O",
    }
)

_SETS = (
    Benchmark(
        name="bbbp", rows=2039, targets=("p_np",), task="binary", metrics=("roc_auc",), split="scaffold",
        sha256="65930ad240172cc74a46d97ca3a545139efc61922bdc24c4125005feedcd4389", source=_GROVER + "bbbp.csv",
        url=_PUBLIC + "BBBP.csv", conversion=Conversion(readable_only=True), canonical=True, notes=(_CONFLICTS,),
        digest="67bc0ce3f21e71441d25a122cc98954259bf4691a3d3b570e667510df6825db7",
    ),
    Benchmark(
        name="sider", rows=1427, target_count=27, task="binary", metrics=("roc_auc",), split="scaffold",
        sha256="ebf65c641eaaaf1702e39faaadde886bfc8c5245fa34c4a55087327dabddead7", source=_GROVER + "sider.csv",
        url=_PUBLIC + "sider.csv.gz",
        digest="6eb80a3e9dc38289be004e00739ad9f02887fbd59b075bc1c8982cea33ed86df",
    ),
    Benchmark(
        name="clintox", rows=1478, targets=("FDA_APPROVED", "CT_TOX"), task="binary", metrics=("roc_auc",),
        split="scaffold", canonical=True,
        sha256="d1a199e599d1dc49009928a33f8be69807d65fbb783d06b840d7558d09681e79", source=_GROVER + "clintox.csv",
        url=_PUBLIC + "clintox.csv.gz", conversion=Conversion(without=_NOT_IN_CLINTOX),
        notes=("the two targets are nearly complementary",),
        digest="e026b1c181036eea1aff03ecfc3d23d7b3d8bdaaa1ae86f0a4043cff2ee63fa6",
    ),
    Benchmark(
        name="bace", rows=1513, targets=("Class",), task="binary", metrics=("roc_auc",), split="scaffold",
        sha256="7e84effa37e4cba2bdd010789a802c45947b2104e001e004050943896c0738fb", source=_GROVER + "bace.csv",
        url=_PUBLIC + "bace.csv", conversion=Conversion(smiles=("mol", "smiles")),
        digest="f86ebbfd6d3ba41a9cd91b9473d74affa8edc9c12e9feffabf15381d177c4a1b",
    ),
    Benchmark(
        name="tox21", rows=7831, task="binary", metrics=("roc_auc",), split="scaffold",
        targets=("NR-AR", "NR-AR-LBD", "NR-AhR", "NR-Aromatase", "NR-ER", "NR-ER-LBD", "NR-PPAR-gamma", "SR-ARE",
                 "SR-ATAD5", "SR-HSE", "SR-MMP", "SR-p53"),
        sha256="742bf6883ec7b859ed5cdaa05972bc37274de5bce423f363016c67791f1a12c3", source=_GROVER + "tox21.csv",
        url=_PUBLIC + "tox21.csv.gz", notes=("8 SMILES that RDKit refuses", "many labels are missing"),
        digest="6d477c672aa4a8f7c7c617f6244d91a41dc90d5436c7d069b7fd549ef5d348b4",
    ),
    Benchmark(
        name="esol", rows=1128, targets=("logSolubility",), task="regression", metrics=("rmse",), split="scaffold",
        sha256="627f1e1ade21a0e7f8cb4b775581cf9f67c119723f616970090e2a24fb8228df", source=_GROVER + "esol.csv",
        url=_PUBLIC + "delaney-processed.csv",
        conversion=Conversion(renamed={"logSolubility": "measured log solubility in mols per litre"}),
        digest="9bca9d4b2f6b893ae0602cb75c8796b3cdbb31f7001dbe9eae7da88109771c30",
    ),
    Benchmark(
        name="freesolv", rows=642, targets=("freesolv",), task="regression", metrics=("rmse",), split="scaffold",
        sha256="63b7b78153740bcfaa502f876a8c431e6d2306a3f00dd8741ee9b48316fc2f41", source=_GROVER + "freesolv.csv",
        url=_PUBLIC + "freesolv.csv.gz",
        conversion=Conversion(smiles=("smiles", "mol"), renamed={"freesolv": "y"},
                              standardised=(-3.8030062305295944, 3.844822204602953, 2)),
        digest="32380d0b55f119a4d180023ec23ec37b0989ffbae7b2c30856281180cfd47b3c",
    ),
    Benchmark(
        name="lipo", rows=4200, targets=("lipo",), task="regression", metrics=("rmse",), split="scaffold",
        sha256="4f213c2d24f21071c37e92faf9392c4c3084c3b59fa625fe3aa770c0916956ac", source=_GROVER + "lipo.csv",
        url=_PUBLIC + "Lipophilicity.csv", conversion=Conversion(renamed={"lipo": "exp"}),
        digest="db267d24795875ffe3c85cec3e3f91826e8c63e6eb91c1fc26b9e2fd5024a8ba",
    ),
    Benchmark(
        name="qm7", rows=6830, targets=("u0_atom",), task="regression", metrics=("mae",), split="scaffold",
        sha256="b26c078f4d6c30278e4a31807835e46f7e800f472cfed079fea5d53e047442fb", source=_GROVER + "qm7.csv",
        url=_PUBLIC + "qm7.csv", conversion=Conversion(readable_only=True), notes=(_APPROXIMATE,),
        digest="540632d4899882a7312ff6337ede30b1772565b1cf066a7788bfaec85d82699f",
    ),
    Benchmark(
        name="qm8", rows=21786, task="regression", metrics=("mae",), split="scaffold",
        targets=("E1-CC2", "E2-CC2", "f1-CC2", "f2-CC2", "E1-PBE0", "E2-PBE0", "f1-PBE0", "f2-PBE0", "E1-CAM", "E2-CAM",
                 "f1-CAM", "f2-CAM"),
        sha256="c3f61f0d0b1c5d16a2cee049d82bc484f4e19a620c999e005af34c7e2e5cc820", source=_GROVER + "qm8.csv",
        url=_PUBLIC + "qm8.csv", notes=(_APPROXIMATE,),
        digest="bd880c0b13563e2c2a74ab7cd9a68a970e67eeefcab44aa1c940d73f37d01c62",
    ),
    Benchmark(
        name="toxcast", rows=8615, target_count=617, task="binary", metrics=("roc_auc",), split="scaffold",
        canonical=True,
        sha256="a2d2eacf26f769a1a3df052fb4bb921ebb543da97ec23dba77a7828ef28d8249",
        source="deepchem/deepchem examples/toxcast/processing/toxcast_data.csv.gz",
        url=_PUBLIC + "toxcast_data.csv.gz",
        notes=("8,615 rows where 8,575 are published; 18 SMILES that RDKit refuses, 15 of them say FAIL",
               "most labels are missing"),
        digest="dfac17141feb0897921d37716813cc5bbc7e9c74f7efccf6e9f55921d68f8e8e",
    ),
    Benchmark(
        name="hiv", rows=41127, targets=("HIV_active",), task="binary", metrics=("roc_auc",), split="scaffold",
        sha256="ecb7265aaf5e50e03e9aa0f4119c6dbc80ae9e17f7d6b22a066979d34e05b240",
        source="Fireflower-March/DFusMol data/hiv.csv", url=_PUBLIC + "HIV.csv",
        notes=("7 SMILES that RDKit refuses",),
        digest="d56aec7dfe84ca75e084a344bfc6e38d2571c6da1a20a63c39f43fcea9329610",
    ),
    Benchmark(
        name="muv", rows=93087, task="binary", metrics=("average_precision",), split="scaffold",
        targets=("MUV-466", "MUV-548", "MUV-600", "MUV-644", "MUV-652", "MUV-689", "MUV-692", "MUV-712", "MUV-713",
                 "MUV-733", "MUV-737", "MUV-810", "MUV-832", "MUV-846", "MUV-852", "MUV-858", "MUV-859"),
        sha256="7d66a00ad9d4908d6cb6416799d4dca5867f0ab7fc3b5f2a965076f8664f8f9a",
        source="deepchem/deepchem datasets/muv.csv.gz", url=_PUBLIC + "muv.csv.gz",
        conversion=Conversion(merge_repeats=True), notes=("about one active in 600; most labels are missing",),
        digest="631ead8ba743f667ecd91e9c73866c01d1fa79f2c4d97f5c36ed733922040066",
    ),
    Benchmark(
        name="estrogen-alpha", rows=2398, targets=("y",), task="binary", metrics=("roc_auc",), split="scaffold",
        sha256="3043d9347ff64c0b6083af72fdf6d3ac285fb52ab95acacbeaca16b2fc36c815",
        source="ardigen/MAT data/estrogen-alpha/estrogen-alpha.csv",
    ),
    Benchmark(
        name="metstab-low", rows=2127, targets=("y",), task="binary", metrics=("roc_auc",), split="random",
        sha256="0d244868ed8f863932552fa89134b533754e3e491ebeee17c4c53533178df708",
        source="ardigen/MAT data/mesta-low/mesta-low.csv", notes=("57 duplicates",),
    ),
    Benchmark(
        name="metstab-high", rows=2127, targets=("y",), task="binary", metrics=("roc_auc",), split="random",
        sha256="5e114c567bcc36b1e314da9759391a6337291be9f2629e46783344c250a224b4",
        source="ardigen/MAT data/mesta-high/mesta-high.csv", notes=("57 duplicates",),
    ),
    Benchmark(
        name="biogen_hlm", rows=3087, targets=("activity",), task="regression", metrics=("mae", "r"), split="column",
        sha256="4b2658fe2668ee15c537c508c4121db9a03561707d2427a0aed4983bbb8bc607",
        source=_ADME + "ADME_HLM_train.csv and ADME_HLM_test.csv",
    ),
    Benchmark(
        name="biogen_rlm", rows=3054, targets=("activity",), task="regression", metrics=("mae", "r"), split="column",
        sha256="f9a797942c6f77f317141b64acee2bed6dd0fce2c5981eeefd96afc9175610f0",
        source=_ADME + "ADME_RLM_train.csv and ADME_RLM_test.csv",
    ),
    Benchmark(
        name="biogen_sol", rows=2173, targets=("activity",), task="regression", metrics=("mae", "r"), split="column",
        sha256="e78056caedd606f630c1c377f859dc22926acc1b8e02a2054731ef6779c6a7ef",
        source=_ADME + "ADME_Sol_train.csv and ADME_Sol_test.csv",
        notes=("log10 of the solubility in µg/mL at pH 6.8; ships with Mesomer",),
    ),
    Benchmark(
        name="biogen_hppb", rows=1808, targets=("activity",), task="regression", metrics=("mae", "r"), split="column",
        sha256="0abbcd3898b69f10731a586681a91d007a2574e180fab335b064f49ef7dbffa7",
        source=_ADME + "ADME_hPPB_train.csv and ADME_hPPB_test.csv", notes=("14 duplicates",),
    ),
    Benchmark(
        name="zinc_clean_leads", rows=1584663, folder="corpus",
        sha256="71d1943e9908b43679da71003010be607c1f16a624296f8f93826e41d170472a",
        source="the training set of MOSES (PyPI package molsets, file train.csv.gz)",
        notes=("ZINC clean leads: 8 to 27 heavy atoms, no charges, no stereo",),
    ),
    Benchmark(
        name="chembl_diverse", rows=75271, folder="corpus",
        sha256="46526cff3f0ce7147987a40a25ffa1a8dc280e64a4aea2e62427e99ed7167ccd",
        source="compounds of the ChEMBL sets in deepchem/deepchem, canonical SMILES",
        notes=("charges, stereo, macrocycles, P, S and B occur",),
    ),
)  # fmt: skip
BENCHMARKS: dict[str, Benchmark] = {entry.name: entry for entry in _SETS}
