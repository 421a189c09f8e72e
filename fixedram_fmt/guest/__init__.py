"""The guest itself: which system runs in it, and what its kernel logged."""

from fixedram_fmt.guest.system import GuestSystem, guest_system

__all__ = ["GuestSystem", "guest_system"]
