"""From the words of QEMU and libvirt to the cause: messages, sides at fault, what to do."""
