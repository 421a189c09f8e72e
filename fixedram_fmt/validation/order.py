"""When a loader comes to a finding: the number of the record at its place."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fixedram_fmt.blocks import Section
    from fixedram_fmt.validation.survey import Survey

__all__ = ["Places", "section_order"]


def section_order(survey: Survey, section: Section) -> int:
    """When a loader comes to a section."""
    return survey.section_orders.get(section.section_id, survey.order)


class Places:
    """The places of an image whose walk is over, by path and offset of a finding."""

    def __init__(self, survey: Survey) -> None:
        self._survey = survey
        self._sections = {
            section.offset: section_order(survey, section) for section in survey.image.sections
        }
        self._records = {flush.record.path: flush.order for flush in survey.flushes}
        if survey.last_eos:
            eos, order = survey.last_eos
            self._records[eos.path] = order

    def order(self, path: str, offset: int | None) -> int:
        """The number of the record; where there is none, that of the walk's end."""
        survey = self._survey
        block = survey.listed_by_path.get("/".join(path.split("/")[:3]))
        if block is not None and block.index < len(survey.block_order):
            return survey.block_order[block.index]
        if path.startswith("libvirt"):
            return 0
        if path.startswith("configuration"):
            return survey.configured
        if not path and offset in self._sections:
            return self._sections[offset]
        return self._records.get(path, survey.order)
