"""The initramfs of the guests: busybox, the agent, llts with its libraries, the modules. Uncompressed, because a guest
under TCG unpacks slowly, and without symbols, because a guest is small.
"""

import os
import re
import shutil
import stat
import subprocess

PASSWD = "root:x:0:0:root:/:/bin/sh\nllts:x:990:990::/:/bin/false\n_chrony:x:991:991::/:/bin/false\n"
GROUP = "root:x:0:\nllts:x:990:\n_chrony:x:991:\n"


class Archive:
    """A cpio archive in the form the kernel reads ("newc")."""

    def __init__(self):
        self.parts = []
        self.names = set()

    def put(self, name, mode, data=b""):
        folder = os.path.dirname(name)
        if folder and folder not in self.names:
            self.put(folder, stat.S_IFDIR | 0o755)
        if name in self.names:
            return
        self.names.add(name)
        self.raw(name, mode, data)

    def raw(self, name, mode, data):
        fields = [len(self.parts) + 1, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name) + 1, 0]
        head = b"070701" + b"".join(b"%08X" % field for field in fields) + name.encode() + b"\0"
        self.parts.append(head + b"\0" * (-len(head) % 4) + data + b"\0" * (-len(data) % 4))

    def program(self, name, path, libraries=None, strip=None):
        data = open(path, "rb").read()
        if strip:
            subprocess.run(["strip", "-o", strip, path], check=True)
            data = open(strip, "rb").read()
        self.put(name, stat.S_IFREG | 0o755, data)
        for library in needed(path, libraries):
            at = "lib64/" if os.path.basename(library).startswith("ld-linux") else "lib/"
            self.put(at + os.path.basename(library), stat.S_IFREG | 0o755, open(library, "rb").read())

    def bytes(self):
        self.raw("TRAILER!!!", 0, b"")
        return b"".join(self.parts)


def needed(path, libraries):
    """The shared libraries that a program loads, as ldd finds them."""
    environment = dict(os.environ, LC_ALL="C")
    if libraries:
        environment["LD_LIBRARY_PATH"] = libraries
    said = subprocess.run(["ldd", path], capture_output=True, text=True, env=environment).stdout
    return re.findall(r"(/\S+\.so\S*) \(0x", said)


def agent(source, cache):
    """Builds the agent, unless it is there and newer than its source."""
    built = os.path.join(cache, "labguest")
    if not os.path.exists(built) or os.path.getmtime(built) < os.path.getmtime(source):
        words = ["-C", "target-feature=+crt-static", "-C", "strip=symbols", "-o", built, source]
        subprocess.run(["rustc", "--edition", "2024", "-O", *words], check=True)
    return built


def build(parts, llts, guest, cache, folder):
    """Writes the initramfs and returns its path."""
    archive = Archive()
    with open(os.path.join(guest, "init"), "rb") as file:
        archive.put("init", stat.S_IFREG | 0o755, file.read())
    archive.program("bin/busybox", parts.busybox)
    archive.program("bin/labguest", agent(os.path.join(guest, "labguest.rs"), cache))
    strip = os.path.join(folder, "llts") if shutil.which("strip") else None
    archive.program("bin/llts", llts, strip=strip)
    archive.program("bin/chronyd", parts.chronyd, libraries=parts.environment["LD_LIBRARY_PATH"])
    modules = parts.modules()
    for name, data in modules:
        archive.put("modules/" + name, stat.S_IFREG | 0o644, data)
    archive.put("modules/order", stat.S_IFREG | 0o644, "".join(name + "\n" for name, _ in modules).encode())
    archive.put("etc/passwd", stat.S_IFREG | 0o644, PASSWD.encode())
    archive.put("etc/group", stat.S_IFREG | 0o644, GROUP.encode())
    # The kernel opens its console before /dev is there.
    archive.put("dev", stat.S_IFDIR | 0o755)
    path = os.path.join(folder, "initramfs")
    with open(path, "wb") as file:
        file.write(archive.bytes())
    return path
