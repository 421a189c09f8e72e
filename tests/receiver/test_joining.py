"""Several descriptions of one receiver: which counts, and where they contradict each other."""

from __future__ import annotations

from fixedram_fmt.receiver.joining import joined
from fixedram_fmt.receiver.receiver import CheckedValue, Receiver


def test_one_description_stays_what_it_is() -> None:
    one = Receiver(machine="pc", blocks={"pc.ram": "1M"}, sources=["TOML vm.toml"])
    assert joined([one]) == one
    assert joined([Receiver()]) == joined([]) == Receiver()


def test_what_one_leaves_out_comes_from_the_other() -> None:
    first = Receiver(machine="pc", sources=["a"])
    second = Receiver(sections={"ram": 4}, domain="<domain/>", sources=["b"])
    assert joined([first, second]) == Receiver(
        machine="pc", sections={"ram": 4}, domain="<domain/>", sources=["a", "b"]
    )


def test_the_fuller_description_counts_wherever_it_stands() -> None:
    image = Receiver(machine="image", sections={"ram": 4}, description="{}", sources=["image"])
    written = Receiver(machine="written", blocks={"pc.ram": 1}, sources=["written"])
    dumped = Receiver(machine="dumped", vmstate="{}", sources=["dumped"])
    for order in ([image, written, dumped], [dumped, written, image], [written, dumped, image]):
        found = joined(order)
        assert found.machine == "image"
        assert found.sources == [one.sources[0] for one in order if one.sources]
        assert found.contradictions == [
            "machine: 'image' (image), 'written' (written)",
            "machine: 'image' (image), 'dumped' (dumped)",
        ]
    # Of two that are as full the first that was given counts.
    assert joined([dumped, Receiver(machine="x")]).machine == "dumped"
    assert joined([Receiver(machine="x"), dumped]).machine == "x"


def test_tables_are_compared_name_by_name() -> None:
    first = Receiver(blocks={"pc.ram": "1M", "rom": 4096}, sources=["a"])
    second = Receiver(blocks={"pc.ram": 1 << 20, "rom": 8192, "vga": 1}, sources=["b"])
    assert joined([first, second]).contradictions == [
        "blocks 'rom': 4096 (a), 8192 (b)",
        "blocks 'vga': 'nothing' (a), 1 (b)",
    ]
    assert joined([first, second]).blocks == first.blocks


def test_what_has_no_source_is_told_all_the_same() -> None:
    found = joined([Receiver(machine="a"), Receiver(machine="b")])
    assert found.contradictions == ["machine: 'a' (?), 'b' (?)"]


def test_long_texts_are_not_compared() -> None:
    value = {"d/0": {"n": CheckedValue("uint8 equal", "01")}}
    first = Receiver(description="a", domain="a", vmstate="a", contents=value)
    second = Receiver(description="b", domain="b", vmstate="b", contents={})
    found = joined([first, second])
    assert found.contradictions is None
    assert (found.description, found.contents) == ("a", value)


def test_earlier_contradictions_are_kept_and_not_all_are_told() -> None:
    many = {f"d{one}": one for one in range(100)}
    first = Receiver(sections=many, contradictions=["older"])
    second = Receiver(sections={name: version + 1 for name, version in many.items()})
    told = joined([first, second]).contradictions
    assert told is not None
    assert told[0] == "older"
    assert len(told) == 20
