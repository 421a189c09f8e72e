"""diff: whether each image loads into a VM like the other's, as validate --like says it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from conftest import run_cli
from fixedram_fmt import Image
from fixedram_fmt.comparison import Options, RestoreVerdict, diff, restore_between
from fixedram_fmt.loaders import LOADERS, Outcome
from fixedram_fmt.receiver import Receiver
from fixedram_fmt.validation import validate
from fixedram_fmt.validation.scope import Extent
from support.builders import Block, open_bytes, uint
from support.image_pairs import FIELDS, PAGE, compared, image_of, with_device
from support.real_files import location_of

NAME = "0000:00:03.0/dev"


@pytest.fixture
def sample(unpacked_dir: Path) -> Callable[[str], str]:
    return lambda name: location_of(f"sample/{name}", unpacked_dir)


def _devices() -> tuple[Image, Image]:
    """A VM whose device has one more field than the other's."""
    one = with_device(bytes(40), *FIELDS, name=NAME)
    more = with_device(bytes(44), *FIELDS, uint("more"), name=NAME)
    return open_bytes(one), open_bytes(more)


def test_what_the_other_vm_has_not_is_found_in_both_directions() -> None:
    with _devices()[0] as one, _devices()[1] as more:
        found = restore_between(one, more)
    assert [finding.rule for finding in found.a_into_b.findings] == ["T12"]
    assert [finding.rule for finding in found.b_into_a.findings] == ["T12"]
    assert "the image has no field" in found.a_into_b.findings[0].message
    assert "the receiver has no field" in found.b_into_a.findings[0].message
    assert found.a_into_b.verdict is Outcome.REFUSES
    assert found.a_into_b.findings[0].fix.startswith(f"give the destination's {NAME}")


def test_an_image_loads_into_its_own_vm() -> None:
    with _devices()[1] as one, _devices()[1] as other:
        found = restore_between(one, other)
    assert found.a_into_b == found.b_into_a
    assert found.a_into_b.is_plain


@pytest.mark.parametrize("name", LOADERS)
def test_the_loader_is_the_one_asked(name: str) -> None:
    with _devices()[0] as one, _devices()[1] as more:
        found = diff(one, more, Options(loader=name)).restore
    assert found is not None
    assert found.a_into_b.loader == found.b_into_a.loader == name
    assert found.a_into_b.multifd is LOADERS[name].is_design


def test_it_makes_no_difference_and_is_asked_with_the_device_state_only(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    a = with_device(bytes(40), *FIELDS)
    assert compared(a, a, restore=False).same
    assert compared(a, a).same
    monkeypatch.setattr("fixedram_fmt.comparison.restoring.ask_of", None)
    for part in ({"state": False}, {"restore": False}):
        assert compared(a, a, **part).restore is None
    with pytest.raises(TypeError):
        compared(a, a)


def _unjudged(one: RestoreVerdict) -> bool:
    return one.verdict is None and one.devices is Extent.NONE and not one.findings


def test_images_that_tell_too_little_are_not_judged() -> None:
    whole, bare = with_device(bytes(40), *FIELDS), image_of(Block(b"ram", bytes(PAGE)))
    for other, why in ((bare, "B has no device state"), (whole[:-300], "B cannot be read to its")):
        found = compared(whole, other).restore
        assert _unjudged(found.a_into_b)
        assert _unjudged(found.b_into_a)
        assert found.a_into_b.not_judged == found.b_into_a.not_judged
        (said,) = found.a_into_b.not_judged
        assert said.startswith(why)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("first", "second"),
    [("q35-devices", "q35-dimm"), ("pc-once", "q35-dimm"), ("aarch64-virt", "aarch64-virt-11.1"),
     ("pc-no-vmdesc", "pc-live"), ("libvirt-fx-raw", "pc-live")],
)  # fmt: skip
def test_samples_are_judged_as_validate_judges_them(
    first: str, second: str, sample: Callable[[str], str]
) -> None:
    places = [sample(first), sample(second)]
    with Image.open(places[0]) as a, Image.open(places[1]) as b:
        found = restore_between(a, b)
        for one, sent, own in ((found.a_into_b, a, b), (found.b_into_a, b, a)):
            report = validate(sent, Receiver.of_image(own))
            verdict = report.verdict(LOADERS[one.loader], multifd=one.multifd)
            judged = report.judged_by(LOADERS[one.loader], multifd=one.multifd)
            assert (one.verdict, one.message) == (verdict.outcome, verdict.message)
            expected = [f.message for f in judged if f.rule.id[0] == "T"]
            assert [f.message for f in one.findings] == expected
    told = run_cli("validate", places[0], "--like", places[1], "--json").json["images"][0]
    assert (told["verdict"], told["message"]) == (found.a_into_b.verdict, found.a_into_b.message)
