"""<os>, <features>, <cpu>, <vcpu> and the memory: the machine itself.

Upstream: libvirt src/qemu/qemu_command.c qemuBuildMachineCommandLine(), qemuBuildCpuCommandLine(),
qemuBuildSmpCommandLine(), qemuBuildMemCommandLine(), qemuBuildNumaCommandLine().
"""

from __future__ import annotations

import re
from itertools import islice
from typing import TYPE_CHECKING

from fixedram_fmt.commandline.firmware import add_firmware
from fixedram_fmt.commandline.fromxml.plan import count, word
from fixedram_fmt.commandline.memory import add_named_backend, size_text
from fixedram_fmt.container.domain import is_main_memory
from fixedram_fmt.container.xmlvalues import scaled
from fixedram_fmt.memory.devicefacts import Machine
from fixedram_fmt.memory.x86map import x86_kind

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

    from fixedram_fmt.commandline.fromxml.plan import Plan

__all__ = ["PROGRAMS", "add_machine"]

#: qemu-system-ARCH by libvirt's name of an architecture: virQEMUCapsArchToString().
PROGRAMS = {
    "aarch64": "aarch64", "alpha": "alpha", "armv7l": "arm", "armv6l": "arm", "i686": "i386",
    "loongarch64": "loongarch64", "m68k": "m68k", "ppc": "ppc", "ppc64": "ppc64",
    "ppc64le": "ppc64", "riscv32": "riscv32", "riscv64": "riscv64", "s390x": "s390x",
    "x86_64": "x86_64",
}  # fmt: skip
_X86 = ("x86_64", "i386")
_ACPI_SECTIONS = ("virt_acpi_build", "acpi_build")
_FEATURES_CEILING = 1024
_CELLS_CEILING = 128
#: Features of CPUs that libvirt has another name for than QEMU: virQEMUCapsCPUFeatureTranslate.
_OTHER_NAMES = {"pclmuldq": "pclmulqdq"}
_POLICIES = {"force": "on", "require": "on", "optional": "on", "disable": "off", "forbid": "off"}
_CPUS = re.compile(r"[0-9]{1,4}(?:-[0-9]{1,4})?(?:,[0-9]{1,4}(?:-[0-9]{1,4})?){0,64}", re.ASCII)


def add_machine(plan: Plan, program: str) -> None:
    """Everything before the devices."""
    _properties(plan, program)
    _cpu(plan)
    _smp(plan)
    _memory(plan)
    if plan.root.get("type") == "kvm":
        plan.draft.others.append(("-accel", "kvm"))
    if program in _X86:
        kind = x86_kind(Machine(plan.evidence.image))
        if kind is not None:
            add_firmware(plan.evidence, plan.draft, kind)
    loader = plan.root.find("os/loader")
    if loader is not None and (loader.text or "").strip():
        plan.draft.doubt("the firmware that the XML names is not given: its memory is in the image")


def _properties(plan: Plan, program: str) -> None:
    machine, features = plan.draft.machine, plan.domain.features
    machine["usb"] = "off"
    for name, value in (("vmport", features.vmport), ("smm", features.smm)):
        if value is not None and program in _X86:
            machine[name] = "on" if value else "off"
    if features.hpet is not None and program in _X86:
        machine["hpet"] = "on" if features.hpet else "off"
    if not features.acpi and _may_lack_acpi(plan, program):
        machine["acpi"] = "off"
    gic = word(plan.root.find("features/gic"), "version")
    if gic in ("2", "3", "4", "max", "host"):
        machine["gic-version"] = gic
    for iommu in plan.root.iterfind("devices/iommu"):
        if iommu.get("model") == "smmuv3":
            machine["iommu"] = "smmuv3"


def _may_lack_acpi(plan: Plan, program: str) -> bool:
    """Whether a domain that says nothing of ACPI is without it.

    Of machines that are no PC some versions of libvirt leave that to QEMU: there the state tells.
    """
    if program in _X86:
        return True
    is_virt = plan.draft.machine_type.partition("-")[0] == "virt"
    return is_virt and not any(plan.evidence.has(one) for one in _ACPI_SECTIONS)


def _cpu(plan: Plan) -> None:
    cpu = plan.root.find("cpu")
    mode = cpu.get("mode") if cpu is not None else None
    if mode in ("host-passthrough", "maximum"):
        plan.draft.cpu = "host" if mode == "host-passthrough" else "max"
    elif cpu is not None:
        model = cpu.find("model")
        text = (model.text or "").strip() if model is not None else ""
        if re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,79}", text, re.ASCII):
            plan.draft.cpu = text
    if plan.draft.cpu is None:
        if mode == "host-model":
            plan.draft.doubt(
                "the CPU is that of the host (host-model), which the XML does not tell"
            )
        return
    words = [plan.draft.cpu]
    for feature in islice(cpu.iterfind("feature") if cpu is not None else (), _FEATURES_CEILING):
        name, value = word(feature, "name"), _POLICIES.get(feature.get("policy") or "require")
        if name is not None and value is not None:
            words.append(f"{_OTHER_NAMES.get(name, name.replace('_', '-'))}={value}")
    plan.draft.cpu = ",".join(words)


def _smp(plan: Plan) -> None:
    most, now = plan.domain.max_vcpus or 1, plan.domain.vcpus or 1
    if not 0 < now <= most <= 1 << 12:
        plan.draft.doubt("the number of vCPUs in the XML is none")
        return
    words = [f"{now}"] if now == most else [f"{now},maxcpus={most}"]
    topology = plan.root.find("cpu/topology")
    parts = {name: count(topology, name) for name in ("sockets", "dies", "cores", "threads")}
    if topology is None:
        parts = {"sockets": most, "cores": 1, "threads": 1}
    words += [
        f"{name}={value}"
        for name, value in parts.items()
        if value and (value > 1 or name != "dies")
    ]
    plan.draft.smp = ",".join(words)


def _memory(plan: Plan) -> None:
    domain, draft = plan.domain, plan.draft
    if not domain.memory:
        draft.doubt("the XML does not tell the memory: its size is not known")
        return
    words = [size_text(domain.memory)]
    most = domain.max_memory
    if most is not None and most.size and most.slots is not None:
        words += [f"slots={most.slots}"] * bool(most.slots) + [f"maxmem={size_text(most.size)}"]
    draft.memory = ",".join(words)
    cells = [*islice(plan.root.iterfind("cpu/numa/cell"), _CELLS_CEILING)]
    if cells:
        _numa(plan, cells)
        return
    # A block of another name than the board's own is that of a backend.
    blocks = plan.evidence.blocks
    if not any(is_main_memory(name) for name in blocks):
        others = [name for name, one in blocks.items() if one.used_length == domain.memory]
        if others and add_named_backend(draft, others[0], domain.memory):
            draft.machine["memory-backend"] = others[0]


def _numa(plan: Plan, cells: list[Element]) -> None:
    backed = "ram-node0" in plan.evidence.blocks
    for node, cell in enumerate(cells):
        length = scaled(cell.get("memory"), cell.get("unit")) or 0
        words = [f"node,nodeid={node}"]
        cpus = cell.get("cpus") or ""
        if _CPUS.fullmatch(cpus):
            words += [f"cpus={one}" for one in cpus.split(",")]
        if backed and add_named_backend(plan.draft, f"ram-node{node}", length):
            words.append(f"memdev=ram-node{node}")
        elif length:
            words.append(f"mem={size_text(length)}")
        plan.draft.others.append(("-numa", ",".join(words)))
