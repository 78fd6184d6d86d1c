"""The numbers on three photographs are those that were stored, or the code's version was raised."""

import golden
import numpy as np
import pytest


@pytest.fixture(scope="module")
def made():
    return golden.arrays()


@pytest.mark.parametrize("kind", list(golden.versions()))
def test_numbers_only_move_together_with_their_version(made, kind):
    kept = np.load(golden.FILE)
    assert int(kept[f"version/{kind}"]) == golden.versions()[kind], (
        "the version was raised: store the new numbers, python -m tests.golden write"
    )
    names = {name for name in kept.files if name.startswith(f"{kind}/")}
    assert names == {name for name in made if name.startswith(f"{kind}/")}
    for name in sorted(names):
        # Another processor sums in another order; a change of the science is far larger.
        np.testing.assert_allclose(
            made[name], kept[name], rtol=2e-4, atol=2e-5, err_msg=f"{name}: raise {kind}'s version"
        )
