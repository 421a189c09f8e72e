"""The pytest plugin and the strategies that others use, and the README's example of them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings

from conftest import ROOT
from fixedram_fmt import FixedRamError, Image
from fixedram_fmt.strategies import broken_images, images, mutated_images
from fixedram_fmt.write.faults import catalogue
from fixedram_fmt.write.spec import SpecError
from support.synthetic import image_of

if TYPE_CHECKING:
    from pathlib import Path

    from fixedram_fmt.pytest_plugin import ImageFactory


def test_factory_makes_what_was_asked_for(fixedram_image: ImageFactory) -> None:
    path = fixedram_image(machine="q35", blocks=["pc.ram=1M:text:0.5", {"name": "b", "size": 4096}])
    with Image.open(path) as image:
        assert image.machine == "q35"
        assert [(b.name, b.used_length) for b in image.blocks] == [("pc.ram", 1 << 20), ("b", 4096)]


def test_same_spec_is_made_once(fixedram_image: ImageFactory) -> None:
    one = fixedram_image(blocks=["a=64K"], seed=1)
    assert fixedram_image({"blocks": [{"name": "a", "size": "64K"}]}, seed=1) == one
    assert fixedram_image(blocks=["a=64K"], seed=2) != one
    assert fixedram_image(blocks=["a=64K"], seed=1, faults=["no-eof"]) != one
    assert not one.stat().st_mode & 0o222, "nobody changes what others get too"


@pytest.mark.fixedram_fault("cut-before-eof")
def test_marker_breaks_the_images_of_a_test(fixedram_image: ImageFactory) -> None:
    with Image.open(fixedram_image(blocks=["a=64K"])) as image:
        assert not image.complete


def test_spec_may_be_a_file(fixedram_image: ImageFactory, tmp_path: Path) -> None:
    (tmp_path / "spec.toml").write_text('machine = "virt"\n')
    with Image.open(fixedram_image(tmp_path / "spec.toml", blocks=["a=4K"])) as image:
        assert image.machine == "virt"


def test_nonsense_is_refused(fixedram_image: ImageFactory) -> None:
    with pytest.raises(SpecError, match="did you mean 'blocks'"):
        fixedram_image(blokcs=[])
    with pytest.raises(FixedRamError, match="there is no fault"):
        fixedram_image(blocks=["a=4K"], faults=["nonsense"])


@pytest.mark.slow
@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(images())
def test_images_of_the_strategy_are_sound(raw: bytes) -> None:
    image = image_of(raw)
    assert image.complete
    assert image.notes == []


@pytest.mark.slow
@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(broken_images())
def test_broken_images_have_the_fault_they_name(drawn: tuple[str, bytes]) -> None:
    name, raw = drawn
    assert name in catalogue()
    try:
        image_of(raw)
    except FixedRamError as error:
        assert str(error)  # noqa: PT017 - either way is fine


@pytest.mark.slow
@settings(max_examples=100, suppress_health_check=[HealthCheck.too_slow])
@given(mutated_images())
def test_mutated_images_give_a_result_or_a_clean_error(raw: bytes) -> None:
    try:
        image = image_of(raw)
    except FixedRamError:
        return
    assert sum(block.used_length >= 0 for block in image.blocks) == len(image.blocks)


@pytest.mark.slow
def test_example_of_the_readme_runs(pytester: pytest.Pytester) -> None:
    readme = (ROOT / "README.md").read_text()
    (example,) = re.findall(r"```python\n(# test_my_reader\.py\n.*?)```", readme, re.DOTALL)
    pytester.makepyfile(test_my_reader=example)
    result = pytester.runpytest_subprocess("-q", "-p", "no:cacheprovider")
    result.assert_outcomes(passed=2)
