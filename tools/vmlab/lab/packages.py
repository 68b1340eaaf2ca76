"""What the guests are made of: QEMU, a Debian kernel, busybox and chrony, downloaded with apt-get from the mirror that
this machine is set up with and unpacked into a cache. Nothing is installed into the system, and no privilege is needed.
"""

import fcntl
import glob
import json
import lzma
import os
import re
import shutil
import subprocess
import sys

KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
WANTED = ["qemu-system-x86", "busybox-static", "chrony", "linux-image-amd64"]
# What a kernel wants for being installed, which it is not.
UNWANTED = (
    "systemd",
    "libsystemd",
    "libnss",
    "libpam",
    "udev",
    "libudev",
    "initramfs",
    "klibc",
    "libklibc",
    "kmod",
    "cpio",
    "linux-base",
)
# Modules by file name, with what they depend on found in their own headers.
MODULES = ["virtio_net", "igb", "virtio-rng"]
# QEMU learnt igb in 8.0, and dgram sockets in 7.2.
QEMU_MIN = (8, 0)


class Skipped(Exception):
    """The laboratory cannot run on this machine; the sentence says why."""


class Parts:
    """Where everything is once it was unpacked."""

    def __init__(self, cache):
        self.root = os.path.join(cache, "root")
        self.lib = os.path.join(self.root, "usr/lib/x86_64-linux-gnu")
        with open(os.path.join(cache, "parts.json")) as file:
            self.versions = json.load(file)
        unpacked = os.path.join(self.root, "usr/bin/qemu-system-x86_64")
        self.qemu = unpacked
        self.data = os.path.join(self.root, "usr/share/qemu")
        self.seabios = os.path.join(self.root, "usr/share/seabios")
        self.busybox = first(os.path.join(self.root, "bin/busybox"), os.path.join(self.root, "usr/bin/busybox"))
        self.chronyd = os.path.join(self.root, "usr/sbin/chronyd")
        self.kernel = first(*glob.glob(os.path.join(self.root, "boot/vmlinuz-*")))
        self.release = os.path.basename(self.kernel).removeprefix("vmlinuz-")
        self.environment = dict(
            os.environ, LD_LIBRARY_PATH=self.lib + ":" + os.path.join(self.root, "lib/x86_64-linux-gnu")
        )

    def modules(self):
        """The modules to load, in order, as pairs of a name and the bytes."""
        folder = os.path.join(self.root, "lib/modules", self.release)
        files = {}
        for path in glob.glob(folder + "/**/*.ko*", recursive=True):
            files[os.path.basename(path).split(".ko")[0].replace("-", "_")] = path
        ordered = {}

        def take(name):
            path = files.get(name.replace("-", "_"))
            if path is None or name in ordered:
                return
            data = open(path, "rb").read()
            data = lzma.decompress(data) if path.endswith(".xz") else data
            depends = re.search(rb"\0depends=([^\0]*)\0", data)
            for other in filter(None, depends.group(1).decode().split(",") if depends else []):
                take(other)
            ordered[name] = data

        for name in MODULES:
            take(name)
        return [(name + ".ko", data) for name, data in ordered.items()]


def first(*paths):
    for path in paths:
        if os.path.exists(path):
            return path
    raise Skipped(f"an unpacked package lacks what was expected of it: {paths}")


def ensure(cache, say):
    """The parts, downloaded and unpacked unless they already are. Raises Skipped where that cannot be."""
    if os.uname().machine != "x86_64":
        raise Skipped("the guests are x86-64 and so must be the machine: their counter is read as its own")
    os.makedirs(cache, exist_ok=True)
    with open(os.path.join(cache, "lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not os.path.exists(os.path.join(cache, "parts.json")):
            fetch(cache, say)
    parts = Parts(cache)
    said = subprocess.run([parts.qemu, "--version"], env=parts.environment, capture_output=True, text=True)
    version = re.search(r"version (\d+)\.(\d+)", said.stdout)
    if said.returncode or not version:
        raise Skipped(f"the unpacked QEMU does not run here: {said.stderr.strip()[:200]}")
    if (int(version[1]), int(version[2])) < QEMU_MIN:
        raise Skipped(f"QEMU {version[1]}.{version[2]} is too old: 8.0 or newer is needed")
    return parts


def fetch(cache, say):
    for tool in ("apt-get", "dpkg-deb"):
        if shutil.which(tool) is None:
            raise Skipped(f"{tool} is not on this machine: the guests are made of Debian's packages")
    codename = ""
    with open("/etc/os-release") as file:
        for line in file:
            if line.startswith("VERSION_CODENAME="):
                codename = line.split("=")[1].strip().strip('"')
    targets = subprocess.run(
        ["apt-get", "indextargets", "--format", "$(CREATED_BY) $(REPO_URI) $(RELEASE) $(COMPONENT)"],
        capture_output=True,
        text=True,
    ).stdout.split("\n")
    mirrors = [
        line.split()[1] for line in targets if line.startswith("Packages ") and line.split()[2:] == [codename, "main"]
    ]
    if not mirrors or not os.path.exists(KEYRING):
        raise Skipped("apt has no Debian source for this release: the guests are made of Debian's packages")
    # Debian 12 has a QEMU with igb, and Linux 6.12, in its backports only.
    suites = [codename, "bookworm-backports"] if codename == "bookworm" else [codename]
    state = os.path.join(cache, "apt")
    shutil.rmtree(state, ignore_errors=True)
    for folder in ("lists/partial", "archives/partial", "parts"):
        os.makedirs(os.path.join(state, folder))
    with open(os.path.join(state, "sources.list"), "w") as file:
        file.writelines(f"deb [signed-by={KEYRING}] {mirrors[0]} {suite} main\n" for suite in suites)
    options = {
        "Dir::Etc::SourceList": state + "/sources.list",
        "Dir::Etc::SourceParts": state + "/parts",
        "Dir::State": state,
        "Dir::State::Status": "/var/lib/dpkg/status",
        "Dir::State::Lists": state + "/lists",
        "Dir::Cache": state,
        "Dir::Cache::Archives": state + "/archives",
        "Acquire::Languages": "none",
        "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled": "false",
        "Acquire::Retries": "2",
        "Acquire::http::Timeout": "60",
        "APT::Sandbox::User": "",
    }
    apt = ["apt-get", "-q", "-y"] + [word for pair in options.items() for word in ("-o", "=".join(pair))]
    environment = dict(os.environ, DEBIAN_FRONTEND="noninteractive", LC_ALL="C")

    def call(*words):
        done = subprocess.run(apt + list(words), capture_output=True, text=True, env=environment, timeout=900)
        if done.returncode:
            raise Skipped(f"apt-get {words[-1]} failed, is the mirror reachable? {done.stderr.strip()[-300:]}")

    say(f"downloading {', '.join(WANTED)} from {' and '.join(suites)} into {cache}")
    call("update")
    release = ["-t", suites[-1]]
    call(*release, "--no-install-recommends", "--download-only", "--reinstall", "install", *WANTED)
    root = os.path.join(cache, "root")
    shutil.rmtree(root, ignore_errors=True)
    os.makedirs(root)
    versions = {}
    for archive in sorted(glob.glob(state + "/archives/*.deb")):
        name, version = os.path.basename(archive).split("_")[:2]
        if name.startswith(UNWANTED):
            continue
        versions[name] = version.replace("%3a", ":")
        if name.startswith("linux-image-"):
            unpack_kernel(archive, root)
        else:
            subprocess.run(["dpkg-deb", "-x", archive, root], check=True)
    shutil.rmtree(state)
    with open(os.path.join(cache, "parts.new"), "w") as file:
        json.dump(versions, file, indent=1)
    os.rename(os.path.join(cache, "parts.new"), os.path.join(cache, "parts.json"))


def unpack_kernel(archive, root):
    """Of the 100 MB of a kernel package only what the guests load."""
    names = ["./boot/*"] + [f"*/{name}.ko*" for name in MODULES]
    names += [f"*/{name}.ko*" for name in ("failover", "net_failover", "dca", "i2c-algo-bit", "rng-core")]
    stream = subprocess.Popen(["dpkg-deb", "--fsys-tarfile", archive], stdout=subprocess.PIPE)
    # tar complains about a name that this kernel has built in; whether anything is missing shows when it boots.
    subprocess.run(["tar", "-x", "-C", root, "--wildcards", *names], stdin=stream.stdout, stderr=subprocess.DEVNULL)
    if stream.wait():
        sys.exit(f"vmlab: {archive} cannot be unpacked")
