"""The published R-MAT code as a contestant; its repository (gmum/huggingmolecules) is a path that the caller gives.

It is run as it stands, with one concession: the client that it downloads weights with is an empty module, for nothing
is downloaded. Where coordinates are given, its function from SMILES to a molecule in space is one that looks them up.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from rdkit.Chem import Mol
from torch import Tensor

from mesomer.errors import MesomerError


class Published:
    """Their model, featuriser and batches; each call takes the next batch.

    `placed` gives the molecule with coordinates of each SMILES.
    """

    def __init__(
        self, folder: str, batches: Sequence[Sequence[str]], placed: Mapping[str, Mol], sizes: Mapping[str, int]
    ) -> None:
        source = Path(folder) / "src"
        if not (source / "huggingmolecules").is_dir():
            raise MesomerError(
                f"The published code is not in {folder}, which has no src/huggingmolecules.",
                "Give a copy of the repository gmum/huggingmolecules, or leave --published out.",
            )
        sys.path.insert(0, str(source))
        sys.modules.setdefault("gdown", ModuleType("gdown"))
        try:
            from huggingmolecules import RMatConfig, RMatFeaturizer, RMatModel
            from huggingmolecules.featurization import featurization_rmat
        except ImportError as error:
            raise MesomerError(f"The published code in {folder} cannot be imported: {error}.") from error
        config = RMatConfig(**_official(sizes))
        self._module: Any = featurization_rmat
        self._from_smiles: Callable[[str], Mol] = featurization_rmat.get_mol_from_smiles
        self._featurizer: Any = RMatFeaturizer(config)
        self._placed, self._texts = placed, batches
        self.model: torch.nn.Module = RMatModel(config)
        self.batches = [self.featurize(batch) for batch in batches]
        self._optimizer = torch.optim.Adam(self.model.parameters(), lr=1e-4)
        self._turns = 0

    def _turn(self) -> int:
        self._turns += 1
        return (self._turns - 1) % len(self.batches)

    def featurize(self, texts: Sequence[str]) -> Any:
        """A batch from SMILES whose coordinates are given."""
        self._module.get_mol_from_smiles = self._placed.__getitem__
        return self._featurizer(list(texts))

    def featurize_given(self) -> Any:
        """The next batch, with given coordinates."""
        return self.featurize(self._texts[self._turn()])

    def featurize_embedded(self) -> Any:
        """The next batch from SMILES alone."""
        self._module.get_mol_from_smiles = self._from_smiles
        return self._featurizer(list(self._texts[self._turn()]))

    @torch.no_grad()
    def forward(self) -> Tensor:
        """Outputs of the next batch."""
        return self.model.eval()(self.batches[self._turn()])

    def step(self) -> None:
        """One training step of a regression."""
        output = self.model.train()(self.batches[self._turn()])
        torch.nn.functional.mse_loss(output, torch.zeros_like(output)).backward()
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)


def _official(sizes: Mapping[str, int]) -> dict[str, int]:
    """Official names of our sizes."""
    return {
        "d_model": sizes["hidden_size"],
        "encoder_n_attn_heads": sizes["heads"],
        "encoder_n_layers": sizes["blocks"],
        "ffn_d_hidden": sizes["ffn_hidden"],
        "ffn_d_output": sizes["hidden_size"],
    }
