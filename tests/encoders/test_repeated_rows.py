"""Equal rows stored once: columns, forward pass and gradients are those of all rows written out."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from small_corpora import demo_smiles

from mesomer.chem.featurize import graph_from_smiles
from mesomer.chem.graph import GraphBatch, collate
from mesomer.chem.schema import ATOM_BYTES, BOND_BYTES
from mesomer.encoders import batmannet, fields, grover
from mesomer.encoders.base import build_encoder
from mesomer.encoders.grover_features import published_tables, sound_tables
from mesomer.encoders.repeated_rows import FEW_ROWS, RepeatedRows, each_kind, every_row, input_columns
from mesomer.objectives.base import build_objective

COLUMNS = {
    "batmannet": (fields.OneHot(fields.SOUND_ATOM), fields.OneHot(fields.SOUND_BOND)),
    "batmannet published": (fields.OneHot(fields.PUBLISHED_ATOM), fields.OneHot(fields.PUBLISHED_BOND)),
    "grover": sound_tables(),
    "grover published": published_tables(),
}
RARE = [
    "C", "[Na+].[Cl-]", "[13CH4]", "[2H]C([2H])([2H])[14C](=O)O", "[U]", "*CC*", "[Fe+3]", "[CH2]C", "N[C@@H](C)C(=O)O",
    "F/C=C/Cl", "F/C=C\\Cl", "F[P-](F)(F)(F)(F)F", "[O-][n+]1ccccc1", "[NH3]->[Pt]", "[C-3]",
]  # fmt: skip
SMILES = [*RARE, *demo_smiles(200)]
by_columns = pytest.mark.parametrize("name", list(COLUMNS))


def batch_of(smiles: list[str]) -> GraphBatch:
    return collate([graph_from_smiles(text)[0] for text in smiles])


def batch_of_codes(atoms: torch.Tensor, bonds: torch.Tensor, source: torch.Tensor) -> GraphBatch:
    """What `input_columns` reads of a batch."""
    none = torch.zeros(0, dtype=torch.int64)
    return GraphBatch(atoms, bonds, source, *[none] * 8, None, {})


def some_molecules():
    return st.lists(st.sampled_from(SMILES), min_size=1, max_size=6)


def random_codes(generator: torch.Generator, size: int) -> torch.Tensor:
    """Rows of codes that differ in one bit from one of two rows, all bits in turn, each row some times over."""
    base = torch.randint(0, 256, (2, size), dtype=torch.uint8, generator=generator)
    flips = torch.zeros(8 * size + 1, size, dtype=torch.uint8)
    for bit in range(8 * size):
        flips[bit, bit // 8] = 1 << bit % 8
    rows = (base.unsqueeze(1) ^ flips).flatten(0, 1)
    return rows[torch.randint(0, len(rows), (3 * len(rows),), generator=generator)]


def same_columns(found: tuple[RepeatedRows, ...], expected: tuple[RepeatedRows, ...]) -> None:
    for a, b in zip(found, expected, strict=True):
        assert len(a) == len(b)
        assert torch.equal(a.dense(), b.dense())


@by_columns
@given(smiles=some_molecules())
@settings(max_examples=12, deadline=None)
def test_columns_of_molecules_are_exactly_those_of_every_row(name, smiles):
    batch = batch_of(smiles)
    found = each_kind(batch, *COLUMNS[name])
    same_columns(found, every_row(batch, *COLUMNS[name]))
    assert all(len(rows.kinds) <= len(rows) for rows in found)


@by_columns
@given(seed=st.integers(0, 10_000))
@settings(max_examples=6, deadline=None)
def test_every_bit_that_columns_depend_on_tells_rows_apart(name, seed):
    generator = torch.Generator().manual_seed(seed)
    atoms, bonds = random_codes(generator, ATOM_BYTES), random_codes(generator, BOND_BYTES)
    source = torch.randint(0, len(atoms), (2 * len(bonds),), generator=generator)
    batch = batch_of_codes(atoms, bonds, source)
    same_columns(each_kind(batch, *COLUMNS[name]), every_row(batch, *COLUMNS[name]))


@by_columns
def test_equal_rows_are_stored_once(name):
    atoms, bonds = each_kind(batch_of(["c1ccccc1"] * 5), *COLUMNS[name])
    assert (len(atoms), len(atoms.kinds)) == (30, 1)
    assert (len(bonds), len(bonds.kinds)) == (60, 1)


@by_columns
def test_few_rows_are_stored_as_they_are(name):
    batch = batch_of(["CC"] * (FEW_ROWS // 2))
    assert [len(rows.kinds) for rows in input_columns(batch, *COLUMNS[name])] == [1, 1]
    few = batch_of(["CC"] * (FEW_ROWS // 2 - 1))
    assert [len(rows.kinds) for rows in input_columns(few, *COLUMNS[name])] == [FEW_ROWS - 2] * 2


@by_columns
def test_rows_that_differ_in_spelling_alone_are_equal_to_sound_columns(name):
    spellings = ["N[C@@H](C)C(=O)O", "C[C@H](N)C(=O)O"]
    one, two = (each_kind(batch_of(spellings[:count]), *COLUMNS[name])[0] for count in (1, 2))
    assert (len(one.kinds) == len(two.kinds)) == (not name.endswith("published"))


@by_columns
def test_no_rows(name):
    codes = [torch.zeros(0, size, dtype=torch.uint8) for size in (ATOM_BYTES, BOND_BYTES)]
    for rows in each_kind(batch_of_codes(*codes, torch.zeros(0, dtype=torch.int64)), *COLUMNS[name]):
        weight = torch.randn(3, rows.kinds.shape[1], requires_grad=True)
        found = rows.map(lambda x: F.linear(x, weight)).dense()  # noqa: B023
        assert found.shape == (0, 3)
        found.sum().backward()
        assert not weight.grad.any()


@by_columns
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@given(smiles=some_molecules(), padding=st.integers(0, 3), seed=st.integers(0, 100))
@settings(max_examples=8, deadline=None)
def test_a_linear_layer_and_its_gradients_are_those_of_all_rows(name, dtype, smiles, padding, seed):
    torch.manual_seed(seed)
    batch = batch_of(smiles)
    both = zip(each_kind(batch, *COLUMNS[name]), every_row(batch, *COLUMNS[name]), strict=True)
    for few, all_rows in both:
        seen = torch.rand(len(few)) < 0.4
        columns = F.pad(all_rows.dense()[seen], (0, 0, padding, 0)).to(dtype)
        weight = torch.randn(7, columns.shape[1], dtype=dtype, requires_grad=True)
        bias = torch.randn(7, dtype=dtype, requires_grad=True)
        behind = torch.randn(len(columns), 7, dtype=dtype)
        expected = F.linear(columns, weight, bias)
        wanted = torch.autograd.grad((expected * behind).sum(), (weight, bias))
        for rows in (few, all_rows):
            chosen = rows.select(seen).below(padding)
            assert len(chosen) == len(columns)
            found = chosen.map(lambda x: F.linear(x.to(dtype), weight, bias)).dense()  # noqa: B023
            gradients = torch.autograd.grad((found * behind).sum(), (weight, bias))
            tolerance = 1e-12 if dtype == torch.float64 else 2e-5
            for a, b in zip((found, *gradients), (expected, *wanted), strict=True):
                assert a.dtype == dtype
                assert torch.allclose(a, b, rtol=tolerance, atol=10 * tolerance)


def test_rows_are_chosen_by_number_too():
    [atoms, _] = each_kind(batch_of(SMILES[:12]), *COLUMNS["grover"])
    numbers = torch.tensor([4, 0, 4])
    assert torch.equal(atoms.select(numbers).dense(), atoms.dense()[numbers])


def test_rows_up_to_a_length_get_no_gradient_from_behind():
    kinds = torch.tensor([[1.0], [10.0], [100.0]], requires_grad=True)
    rows = RepeatedRows.of(kinds, torch.tensor([2, 0, 2]))
    longer = rows.dense(5)
    assert longer.shape == (5, 1)
    assert longer[:3].flatten().tolist() == [100, 1, 100]
    longer[:3].sum().backward()
    assert kinds.grad.flatten().tolist() == [1, 0, 2]
    assert RepeatedRows(kinds).dense(4).shape == (4, 1)


def test_rows_that_a_function_adds_are_left_out():
    kinds = torch.tensor([[1.0], [10.0]], requires_grad=True)
    longer = RepeatedRows.of(kinds, torch.tensor([1, 0, 1])).map(lambda x: F.pad(2 * x, (0, 0, 0, 3), value=7.0))
    assert longer.dense().flatten().tolist() == [20, 2, 20]
    longer.dense().sum().backward()
    assert kinds.grad.flatten().tolist() == [2, 4]


def test_gradients_in_bfloat16_are_summed_without_rounding():
    kinds = torch.ones(2, 8, dtype=torch.bfloat16, requires_grad=True)
    kind = torch.zeros(5000, dtype=torch.int64)
    kind[:904] = 1
    RepeatedRows.of(kinds, kind).dense().backward(torch.ones(5000, 8, dtype=torch.bfloat16))
    assert kinds.grad[0].eq(4096).all()  # a sum in bfloat16 stops at 256
    assert kinds.grad[1].eq(904).all()


ENCODERS = {
    "batmannet": ("batmannet", {}),
    "batmannet published": ("batmannet", {"rules": "published"}),
    "batmannet positional": ("batmannet", {"rules": "published", "stage": "pretraining", "activation": "PReLU"}),
    "grover": ("grover", {}),
    "grover paper": ("grover", {"attention": "paper", "update": "paper"}),
    "grover published": ("grover", {"rules": "published", "activation": "PReLU"}),
}


def values_and_gradients(network: torch.nn.Module, terms) -> list[torch.Tensor]:
    network.zero_grad()
    values = terms()
    sum((value.float() * torch.linspace(-1, 1, value.numel()).view(value.shape)).sum() for value in values).backward()
    gradients = [parameter.grad for parameter in network.parameters() if parameter.grad is not None]
    return [value.detach().float() for value in values] + gradients


def differences(found: list[torch.Tensor], expected: list[torch.Tensor]) -> torch.Tensor:
    """Of each tensor the largest difference, relative to its largest number."""
    pairs = zip(found, expected, strict=True)
    return torch.stack([(a - b).abs().max() / b.abs().max().clamp(min=1e-3) for a, b in pairs])


def store(monkeypatch, rows) -> None:
    """Has both encoders store each kind once, or every row."""
    for module in (batmannet, grover):
        monkeypatch.setattr(module, "input_columns", rows)


@pytest.mark.parametrize("name", list(ENCODERS))
def test_encoders_and_their_gradients_are_the_same(name, monkeypatch):
    torch.manual_seed(0)
    encoder_name, options = ENCODERS[name]
    encoder = build_encoder(encoder_name, **{"hidden_size": 16, "heads": 2, "depth": 3, "blocks": 1} | options).eval()
    batch = batch_of(SMILES[:24])

    def run(half: bool) -> list[torch.Tensor]:
        def views() -> list[torch.Tensor]:
            with torch.autocast("cpu", torch.bfloat16, enabled=half):
                return list(encoder(batch).views.values())

        return values_and_gradients(encoder, views)

    store(monkeypatch, each_kind)
    found, found_in_half = run(False), run(True)
    store(monkeypatch, every_row)
    expected, expected_in_half = run(False), run(True)
    assert differences(found, expected).max() < 1e-4
    # in bfloat16 both round, and neither is nearer to float32
    rounded, rounded_before = differences(found_in_half, expected), differences(expected_in_half, expected)
    assert rounded.mean() < 1.5 * rounded_before.mean()


@pytest.mark.parametrize("hide", ["bonds", "directions"])
def test_hidden_rows_change_nothing_in_it(hide, monkeypatch):
    torch.manual_seed(0)
    encoder = build_encoder("batmannet", hidden_size=16, heads=2, depth=3, blocks=1)
    objective = build_objective("masked_graph", encoder, hide=hide).eval()
    batch = batch_of(SMILES[:24])
    draw = objective.draw(batch, 0, 0)
    terms = lambda: list(objective(batch, draw).values())  # noqa: E731
    store(monkeypatch, each_kind)
    found = values_and_gradients(objective, terms)
    store(monkeypatch, every_row)
    assert differences(found, values_and_gradients(objective, terms)).max() < 1e-4
