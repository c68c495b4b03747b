"""BatmanNet against the outputs of the published code: every array of the set, at the tolerances of its README."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch
from reference_batmannet import (
    Reference,
    assert_close,
    bond_order,
    given_masks,
    model_names,
    visible_bond_rows,
    with_padding,
)

from mesomer.encoders import fields
from mesomer.encoders.batmannet import BatmanNet
from mesomer.encoders.blocks import Dropout
from mesomer.interop.batmannet import encoder_links, finetuned_links, pretraining_links
from mesomer.interop.checkpoints import read_checkpoint
from mesomer.objectives.masked_graph import MaskedGraph
from mesomer.training.schedule import Schedule

pytestmark = pytest.mark.reference


@pytest.fixture(scope="module")
def reference(parity) -> Reference:
    return Reference(parity("batmannet"))


@pytest.fixture
def pretraining(reference):
    [name] = model_names("pretrain")
    return reference.model(name)


def first_batch(reference):
    batch = reference.batch(0, reference.first)
    return batch, given_masks(batch, reference.array("mask8_node_idx"), reference.array("mask8_edge_idx"))


def test_features_are_exactly_the_published_ones(reference):
    encoder = BatmanNet(rules="published", hidden_size=4, blocks=1)
    for name, count in (
        (f"first{reference.first}", reference.first),
        (f"all{len(reference.graphs)}", len(reference.graphs)),
    ):
        batch = reference.batch(0, count)
        features, order = encoder.features(batch), bond_order(batch)
        np.testing.assert_array_equal(features.atoms.dense().numpy(), reference.arrays[f"graph_{name}_f_atoms"][1:])
        bonds = features.bonds.dense()[order].numpy()
        np.testing.assert_array_equal(bonds, reference.arrays[f"graph_{name}_f_bonds"][1:])
        np.testing.assert_array_equal(batch.source[order].numpy() + 1, reference.arrays[f"graph_{name}_b2a"][1:])
        encoder.batchwise = True
        assert int(encoder.width_of_tables(batch).values) == reference.arrays[f"graph_{name}_a2b"].shape[1]


def table(lists, offsets, width, number=lambda row: row):
    """A published zero-padded table from our flat lists, each row sorted: its order is no part of what is computed."""
    rows = np.zeros((len(offsets) - 1, width), dtype=np.int64)
    for i in range(len(rows)):
        entries = sorted(number(int(entry)) for entry in lists[offsets[i] : offsets[i + 1]])
        rows[i, width - len(entries) :] = entries
    return rows


def sorted_rows(array):
    return np.sort(np.asarray(array, dtype=np.int64), axis=1)


def test_index_arrays_of_whole_and_visible_graphs(reference, pretraining):
    encoder, arrays = pretraining.encoder, reference.arrays
    for name, count in (
        (f"first{reference.first}", reference.first),
        (f"all{len(reference.graphs)}", len(reference.graphs)),
    ):
        batch = reference.batch(0, count)
        rows, order = encoder.rows(batch), with_padding(bond_order(batch))
        rank = torch.argsort(order)
        width = arrays[f"graph_{name}_a2a"].shape[1]
        np.testing.assert_array_equal(
            table(rows.node.neighbours, rows.node.offsets, width), sorted_rows(arrays[f"graph_{name}_a2a"])
        )
        found = table(rows.edge.incoming, rows.edge.offsets, width, lambda row, rank=rank: int(rank[row]))
        np.testing.assert_array_equal(found, sorted_rows(arrays[f"graph_{name}_a2b"]))
        np.testing.assert_array_equal(rank[rows.edge.reverse[order]].numpy(), arrays[f"graph_{name}_b2revb"])
        np.testing.assert_array_equal(rows.edge.source[order].numpy(), arrays[f"graph_{name}_b2a"])
        for key, offsets in (("a_scope", batch.atom_offsets), ("b_scope", 2 * batch.bond_offsets)):
            scope = np.stack([offsets[:-1].numpy() + 1, offsets.diff().numpy()], axis=1)
            np.testing.assert_array_equal(scope[scope[:, 1] > 0], arrays[f"graph_{name}_{key}"][scope[:, 1] > 0])
            np.testing.assert_array_equal(scope[:, 1], arrays[f"graph_{name}_{key}"][:, 1])
    batch, masks = first_batch(reference)
    draw = pretraining.module.masks(*masks)
    rows = encoder.rows(batch, ~draw.atoms, ~draw.bonds)
    width = reference.array("mask8_node_a2a").shape[1]
    np.testing.assert_array_equal(np.flatnonzero(np.r_[True, ~masks[0].numpy()]), reference.array("mask8_node_remain"))
    np.testing.assert_array_equal(
        np.flatnonzero(np.r_[True, ~masks[1][bond_order(batch)].numpy()]), reference.array("mask8_edge_remain")
    )
    np.testing.assert_array_equal(
        table(rows.node.neighbours, rows.node.offsets, width), sorted_rows(reference.array("mask8_node_a2a"))
    )
    order = visible_bond_rows(batch, draw)
    rank = torch.argsort(order)
    found = table(rows.edge.incoming, rows.edge.offsets, width, lambda row: int(rank[row]))
    np.testing.assert_array_equal(found, sorted_rows(reference.array("mask8_edge_a2b")))
    np.testing.assert_array_equal(rank[rows.edge.reverse[order]].numpy(), reference.array("mask8_edge_b2revb"))
    np.testing.assert_array_equal(rows.edge.source[order].numpy(), reference.array("mask8_edge_b2a"))
    for key, visible, owner in (
        ("node_a_scope", ~draw.atoms, batch.atom_molecule),
        ("edge_b_scope", ~draw.bonds, batch.bond_molecule.repeat_interleave(2)),
    ):
        counts = torch.bincount(owner[visible], minlength=batch.num_molecules)
        np.testing.assert_array_equal(counts.numpy(), reference.array(f"mask8_{key}")[:, 1])


def test_as_many_rows_are_hidden_as_published(reference):
    counts = np.arange(1, reference.arrays["mask_count_nodes"].shape[1] + 1)
    for i, ratio in enumerate(reference.arrays["mask_ratios"]):
        objective = MaskedGraph(
            BatmanNet(rules="published", stage="pretraining", hidden_size=4, blocks=1),
            mask_ratio=float(ratio),
            decoder_blocks=1,
        )
        np.testing.assert_array_equal(objective.hidden_count(counts), reference.arrays["mask_count_nodes"][i])
        np.testing.assert_array_equal(objective.hidden_count(2 * counts - 2), reference.arrays["mask_count_edges"][i])


def test_positional_code(reference):
    table = reference.arrays["pos_table"]
    encoder = BatmanNet(rules="published", stage="pretraining", hidden_size=table.shape[1], heads=1, blocks=1)
    assert_close(encoder.positional_code(torch.arange(len(table))), table, "pos_table")


def test_every_stage_of_pretraining(reference, pretraining):
    batch, masks = first_batch(reference)
    objective, encoder = pretraining.module.eval(), pretraining.encoder
    draw = objective.masks(*masks)
    seen = ~draw.atoms, ~draw.bonds
    rows, features = encoder.rows(batch, *seen), encoder.features(batch)
    branches = encoder.branches(batch, features, rows, *seen)
    views = encoder.views(*branches, rows, features, *seen)
    order = {"node": slice(None), "edge": visible_bond_rows(batch, draw)}
    for name, branch, blocks, branch_rows in (
        ("node", branches[0], encoder.node_blocks, rows.node), ("edge", branches[1], encoder.edge_blocks, rows.edge),
    ):  # fmt: skip
        states = blocks[0].networks(branch.entered, branch_rows).view(len(branch.entered), 3, -1, encoder.width)
        found = {
            "proj": branch.projected.dense(), "in": branch.entered, "block0_head0_q": states[:, 0, 0],
            "block0_attn": blocks[0].attention(states[:, 0], states[:, 1], states[:, 2]),
            "out": views["atom_from_atom" if name == "node" else "bond_from_bond"],
        } | {f"block{i}": state for i, state in enumerate(branch.states)}  # fmt: skip
        expected = {key for key in reference.arrays if key.startswith(reference.named(f"enc8_{name}_"))}
        assert expected == {reference.named(f"enc8_{name}_{key}") for key in found}
        for key, value in found.items():
            assert_close(value[order[name]], reference.array(f"enc8_{name}_{key}"), f"enc8_{name}_{key}")


def test_every_stage_of_the_decoder(reference, pretraining):
    batch, masks = first_batch(reference)
    objective = pretraining.module.eval()
    decoded = objective.reconstruct(batch, objective.masks(*masks))
    everything = objective.reconstruct(batch, objective.masks(*masks), every_row=True)
    order = {"node": slice(None), "edge": with_padding(bond_order(batch))}
    hidden = {"node": masks[0].nonzero().flatten(), "edge": masks[1].nonzero().flatten()}
    for name, part, whole in zip(("node", "edge"), decoded, everything, strict=True):
        found = {"in": part.entered, "out": whole.logits} | {f"block{i}": state for i, state in enumerate(part.states)}
        assert {key for key in reference.arrays if key.startswith(reference.named(f"dec8_{name}_"))} == {
            reference.named(f"dec8_{name}_{key}") for key in found
        }
        for key, value in found.items():
            assert_close(value[order[name]], reference.array(f"dec8_{name}_{key}"), f"dec8_{name}_{key}")
        rank = torch.arange(batch.num_atoms) if name == "node" else torch.argsort(bond_order(batch))
        assert_close(
            part.logits[torch.argsort(rank[hidden[name]])], reference.array(f"logits8_{name}"), f"logits8_{name}"
        )


def losses(objective, batch, draw):
    """Loss terms as means, with the totals that the set lists, by name."""
    terms = {name: float(total.detach()) / draw.counts[name] for name, total in objective(batch, draw).items()}
    node, edge = (sum(value for name, value in terms.items() if name.startswith(part)) for part in ("node_", "edge_"))
    return terms | {"total": node + edge, "node": node, "edge": edge}


def test_losses(reference, pretraining):
    objective = pretraining.module.eval()
    size = reference.size
    cases = [(first_batch(reference), reference.array("loss8"))]
    for i, expected in enumerate(reference.array("loss32")):
        batch = reference.batch(i * size, (i + 1) * size)
        masks = given_masks(batch, reference.array(f"mask32_{i}_node_idx"), reference.array(f"mask32_{i}_edge_idx"))
        cases.append(((batch, masks), expected))
    for (batch, masks), expected in cases:
        found = losses(objective, batch, objective.masks(*masks))
        names = [str(name) for name in reference.arrays["loss_names"]]
        assert set(names) == set(found)
        for name, value in zip(names, expected, strict=True):
            assert found[name] == pytest.approx(value, rel=1e-5, abs=1e-7), name


def test_targets(reference, pretraining):
    objective = pretraining.module.eval()
    batch, masks = first_batch(reference)
    terms = objective._losses(batch, objective.masks(*masks))
    rank = torch.argsort(bond_order(batch))[masks[1].nonzero().flatten()]
    prefix = reference.named("target8_")
    for key in [key for key in reference.arrays if key.startswith(prefix)]:
        target = terms[key.removeprefix(prefix)][2]
        target = target[torch.argsort(rank)] if "_edge_" in key else target
        np.testing.assert_array_equal(target.numpy(), reference.arrays[key], err_msg=key)


def published_gradients(reference, objective):
    links = pretraining_links(
        *(reference.config["pretrain_args"][name] for name in ("num_attn_head", "num_enc_mt_block", "num_dec_mt_block"))
    )
    gradients = {name: p.grad for name, p in objective.named_parameters() if p.grad is not None}
    return {link.theirs: link.read(gradients) for link in links if link.ours in gradients}


def mean_loss(objective, batch, draw):
    return sum(total / draw.counts[name] for name, total in objective(batch, draw).items())


def test_gradients(reference, pretraining):
    objective = pretraining.module.eval()
    batch, masks = first_batch(reference)
    mean_loss(objective, batch, objective.masks(*masks)).backward()
    found = published_gradients(reference, objective)
    expected = dict(zip(map(str, reference.array("grad8_names")), reference.array("grad8_norms"), strict=True))
    limit = 1e-3 * max(expected.values())
    for name, norm in expected.items():
        if norm < 0:
            assert name not in found, f"{name} has no gradient in the published code"
        else:
            assert float(found[name].norm()) == pytest.approx(norm, abs=limit), name


def test_six_training_steps(reference, pretraining):
    objective, arguments = pretraining.module.train(), reference.config["pretrain_args"]
    without_dropout(objective)
    batch, masks = first_batch(reference)
    draw = objective.masks(*masks)
    optimizer = torch.optim.Adam(objective.parameters(), lr=1.0, weight_decay=arguments["weight_decay"])
    steps = arguments["train_data_size"] // arguments["batch_size"]
    for i, (loss, rate) in enumerate(zip(reference.array("train8_loss"), reference.array("train8_lr"), strict=True)):
        found = run_step(optimizer, lambda: mean_loss(objective, batch, draw), scheduled(arguments, steps, i + 1))
        assert found == (pytest.approx(loss, rel=1e-4), pytest.approx(rate, rel=1e-9))


def scheduled(arguments, steps_per_epoch: int, step: int) -> float:
    """The published rate of a step, counted from 1 as current torch does."""
    schedule = Schedule(
        shape="exponential", init_lr=arguments["init_lr"], max_lr=arguments["max_lr"], final_lr=arguments["final_lr"],
        warmup_steps=int(arguments["warmup_epochs"] * steps_per_epoch),
        total_steps=arguments["epochs"] * steps_per_epoch,
    )  # fmt: skip
    return schedule.rate(step)


def without_dropout(module):
    for part in module.modules():
        if isinstance(part, Dropout):
            part.rate = 0.0
        if isinstance(part, torch.nn.Dropout):
            part.p = 0.0


def run_step(optimizer, loss_of, rate):
    for group in optimizer.param_groups:
        group["lr"] = rate
    optimizer.zero_grad()
    loss = loss_of()
    loss.backward()
    optimizer.step()
    return float(loss.detach()), rate


def test_transfer_into_fine_tuning(reference, pretraining):
    """What fine-tuning takes over from a pre-training file, name by name; dead tensors of the published code are left
    aside.
    """
    args = reference.config["pretrain_args"]
    heads, blocks = args["num_attn_head"], args["num_enc_mt_block"]
    ours = {f"encoder.{name}": x for name, x in pretraining.encoder.for_finetuning(seed=1).state_dict().items()}
    checkpoint = read_checkpoint(reference.folder / f"{model_names('pretrain')[0]}.pt").tensors
    loaded, fresh = (
        set(map(str, reference.arrays["transfer_loaded"])),
        set(map(str, reference.arrays["transfer_fresh"])),
    )
    seen = 0
    for link in encoder_links(heads, blocks, False):
        if link.ours not in ours:
            continue
        same = (
            link.theirs in checkpoint
            and checkpoint[link.theirs].shape == link.read(ours).shape
            and torch.equal(link.read(ours), checkpoint[link.theirs])
        )
        assert link.theirs in (loaded if same else fresh), link.theirs
        seen += 1
    dead = re.compile(r"(node|edge)_blocks\.[1-9]\d*\.(W_i|layernorm|act_func)\.|act_func_(node|edge)|cached_zero")
    assert seen == len([name for name in loaded | fresh if name.startswith("mygame.") and not dead.search(name)])


def array_stem(name: str) -> str:
    """How array names call a fine-tuned model."""
    return name.removeprefix("finetune_")


@pytest.mark.parametrize("name", model_names("finetune"))
def test_fine_tuned_models(reference, name):
    stem = array_stem(name)
    imported = reference.model(name)
    model, arrays = imported.module.eval(), reference.arrays
    size = reference.size
    features = arrays.get(f"ft_{stem}_features")
    outputs: dict[str, list] = {}
    raws = []
    with torch.no_grad():
        for start in range(0, len(reference.graphs), size):
            batch = reference.batch(start, start + size)
            given = None if features is None else torch.from_numpy(features[start : start + size])
            for view, vectors in zip(model.views, model.readouts(model.encoder(batch), batch), strict=True):
                outputs.setdefault(f"ft_{stem}_readout_{view}", []).append(vectors)
            raws.append(model(batch, given))
            for view, raw in zip(model.views, raws[-1], strict=True):
                outputs.setdefault(f"ft_{stem}_logit_{view}", []).append(raw)
    for name, parts in outputs.items():
        assert_close(torch.cat(parts), arrays[name], name)
    predictions = torch.cat(
        [
            prediction(model, reference.batch(s, s + size), features, s, size)
            for s in range(0, len(reference.graphs), size)
        ]
    ).double()
    if f"ft_{stem}_scaler_mean" in arrays:
        predictions = torch.from_numpy(
            predictions.numpy() * arrays[f"ft_{stem}_scaler_std"] + arrays[f"ft_{stem}_scaler_mean"]
        )
    assert_close(predictions, arrays[f"ft_{stem}_pred_bs32"], "pred")
    total, count = 0.0, 0
    for i, raw in enumerate(raws):
        loss, present = model.loss(raw, scaled_targets(arrays, stem)[i * size : (i + 1) * size])
        total, count = total + float(loss), count + int(present)
    assert total / count == pytest.approx(float(arrays[f"ft_{stem}_loss"]), rel=1e-5)


@torch.no_grad()
def prediction(model, batch, features, start, size):
    return model.predict(batch, None if features is None else torch.from_numpy(features[start : start + size]))


def scaled_targets(arrays, stem):
    targets = arrays[f"ft_{stem}_targets"]
    if f"ft_{stem}_scaler_mean" in arrays:
        targets = (targets - arrays[f"ft_{stem}_scaler_mean"]) / arrays[f"ft_{stem}_scaler_std"]
    return torch.from_numpy(targets).float()


@pytest.mark.parametrize("name", model_names("finetune"))
def test_six_fine_tuning_steps(reference, name):
    stem = array_stem(name)
    imported = reference.model(name)
    model, arrays = imported.module.train(), reference.arrays
    without_dropout(model)
    training, arguments = reference.config["finetune_training"], dict(reference.config[f"{name}_args"])
    batch = reference.batch(0, training["molecules"])
    features = arrays.get(f"ft_{stem}_features")
    features = None if features is None else torch.from_numpy(features[: training["molecules"]])
    targets = scaled_targets(arrays, stem)[: training["molecules"]]
    arguments["epochs"] = training["epochs"]
    optimizer = torch.optim.Adam(model.parameters(), lr=1.0, weight_decay=arguments["weight_decay"])

    def loss_of():
        total, count = model.loss(model(batch, features), targets)
        return total / count

    for i, (loss, rate) in enumerate(zip(arrays[f"ft_{stem}_train_loss"], arrays[f"ft_{stem}_train_lr"], strict=True)):
        found = run_step(optimizer, loss_of, scheduled(arguments, training["steps_per_epoch"], i + 1))
        assert found == (pytest.approx(loss, rel=1e-4), pytest.approx(rate, rel=1e-9))


def test_the_four_fine_tuning_outputs(reference):
    """The set does not say which of its fine-tuned models these are: one of them, and all arrays have to be its."""
    wide = reference.array("ftenc8_atom_from_atom").shape[1]
    names = [name for name in model_names("finetune") if reference.config[f"{name}_args"]["hidden_size"] == wide]
    assert names, f"no fine-tuned model of the set has hidden size {wide}"
    for name in names:
        try:
            four_outputs(reference, reference.model(name).encoder.eval())
            break
        except AssertionError:
            if name == names[-1]:
                raise


def four_outputs(reference, encoder):
    batch = reference.batch(0, reference.first)
    rows, features = encoder.rows(batch), encoder.features(batch)
    views = encoder.views(*encoder.branches(batch, features, rows), rows, features)
    order = with_padding(bond_order(batch))
    for view, value in views.items():
        key = f"ftenc8_{view}"
        assert_close(value if view.startswith("atom") else value[order], reference.array(key), key)
    single = torch.cat([encoder(reference.batch(i, i + 1)).views["atom_from_atom"] for i in range(reference.first)])
    assert_close(single, reference.arrays["ftenc1_atom_from_atom"], "ftenc1")


@pytest.mark.parametrize("name", model_names("ddi", "dti"))
def test_pair_files_give_their_encoder(reference, name):
    imported = reference.model(name)
    assert imported.kind == "encoder"
    heads, blocks = (reference.config[f"{name}_args"][key] for key in ("num_attn_head", "num_enc_mt_block"))
    wanted = {link.theirs for link in finetuned_links(heads, blocks, 1) if link.theirs.startswith("mygame.")}
    checkpoint = read_checkpoint(reference.folder / f"{name}.pt").tensors
    assert imported.used == wanted & set(checkpoint)
    assert fields.width(fields.PUBLISHED_ATOM) == imported.encoder.node_blocks[0].project.in_features


def test_no_array_of_the_set_is_left_out(reference):
    """New kinds of arrays in a set would need a test of their own; the pair models' outputs wait for those models."""
    small, large, every = reference.first, reference.size, len(reference.graphs)
    tuned = "|".join(array_stem(name) for name in model_names("finetune"))
    pairs = "|".join(model_names("ddi", "dti"))
    compared = [
        f"graph_(first{small}|all{every})_", "mask_(ratios|count_)", f"mask({small}|{large})_",
        f"(loss|grad|train){small}", f"loss{large}", "loss_names", "pos_table", f"(target|enc|dec|logits){small}_",
        "transfer_(loaded|fresh|dropped)", f"ft_({tuned})_", f"ftenc({small}|1)_", f"({pairs})_",
    ]  # fmt: skip
    assert [key for key in reference.arrays if not re.match("|".join(compared), key)] == []
