"""One guest: its QEMU, the socket to its agent, its memory. And the hub that joins them, which is a QEMU without a
machine. Everything hangs on unix sockets in the run's folder: no guest can reach anything but the others.
"""

import ctypes
import json
import mmap
import os
import secrets
import signal
import socket
import subprocess
import threading
import time

from . import truth

MEMORY_MIB = 160
# The initramfs lies clear of the tables that microvm puts at the end of its memory and the kernel at its beginning.
INITRD_AT = 0x5000000
# It is there twice while it is unpacked.
IMAGE_MAX = 36 << 20
# A bracket of the counter's offset that is good enough, ns.
MEETING_NS = 1_000
LIBC = ctypes.CDLL(None)


class Died(Exception):
    """A QEMU ended by itself, or its guest does not answer; the message says which and shows its console."""


def dying_with_us(nice):
    """For the child: be killed when the laboratory is, however it ends; and be as nice as asked."""

    def prepare():
        LIBC.prctl(1, signal.SIGKILL)
        os.nice(nice)

    return prepare


def may_be(nice):
    """Whether this user may start a program so nice."""
    try:
        return subprocess.run(["true"], preexec_fn=lambda: os.nice(nice)).returncode == 0
    except subprocess.SubprocessError:
        return False


class Hub:
    """Joins the guests' networks: what one sends, all others receive."""

    def __init__(self, parts, folder, guests, nice):
        words = [parts.qemu, "-M", "none", "-nodefaults", "-no-user-config", "-display", "none"]
        for n in range(guests):
            words += [
                "-netdev",
                f"dgram,id=d{n},local.type=unix,local.path={folder}/hub{n},"
                f"remote.type=unix,remote.path={folder}/nic{n}",
            ]
            words += ["-netdev", f"hubport,id=p{n},hubid=0,netdev=d{n}"]
        self.log = open(folder + "/hub.log", "wb")
        self.process = subprocess.Popen(
            words,
            env=parts.environment,
            stdin=subprocess.DEVNULL,
            stdout=self.log,
            stderr=self.log,
            preexec_fn=dying_with_us(nice),
        )
        deadline = time.monotonic() + 20
        while not all(os.path.exists(f"{folder}/hub{n}") for n in range(guests)):
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise Died("the hub did not start: " + open(folder + "/hub.log").read()[-500:])
            time.sleep(0.02)

    def end(self):
        self.process.kill()
        self.process.wait()
        self.log.close()


class Guest:
    """One virtual machine."""

    def __init__(self, number, parts, folder, ram, image, counter, nic, ppm, nice):
        self.number, self.parts, self.folder, self.image = number, parts, folder, image
        self.counter, self.nic, self.ppm, self.nice = counter, nic, ppm, nice
        self.name = f"n{number}"
        self.ip = f"10.77.0.{number + 1}"
        self.ram = os.path.join(ram, f"ram{number}")
        self.process = self.memory = self.page = self.offset = self.control = None
        self.watched = []
        self.boots = 0
        self.frozen = False
        self.validation = {}

    # A guest told that its counter is slower than it is believes that more time has passed: it runs fast.
    def khz(self):
        """What the guest is told of the counter's frequency, kHz: a whole number, so its error comes in steps."""
        return round(self.counter.khz / (1 + self.ppm * 1e-6))

    def start(self):
        path = f"{self.folder}/{self.name}"
        for name in (f"{self.folder}/nic{self.number}", path + ".ctl", path + ".watch", path + ".qmp"):
            if os.path.exists(name):
                os.unlink(name)
        command = (
            f"console=ttyS0 quiet reboot=t panic=-1 tsc=reliable clocksource=tsc tsc_early_khz={self.khz()} "
            f"nokaslr mitigations=off random.trust_cpu=on initrdmem={INITRD_AT},{os.path.getsize(self.image)} "
            f"memmap={(os.path.getsize(self.image) >> 12) + 1 << 2}K${INITRD_AT:#x} "
            f"vmlab.name={self.name} vmlab.ip={self.ip}"
        )
        words = [
            self.parts.qemu,
            "-L",
            self.parts.data,
            "-L",
            self.parts.seabios,
            "-M",
            "microvm,pcie=on,acpi=on,pit=off,pic=off,rtc=on,memory-backend=ram",
            "-cpu",
            "max,la57=off",
            "-accel",
            "tcg,thread=multi",
            "-smp",
            "1",
            "-m",
            f"{MEMORY_MIB}M",
            "-object",
            f"memory-backend-file,id=ram,size={MEMORY_MIB}M,mem-path={self.ram},share=on",
            "-nodefaults",
            "-no-user-config",
            "-display",
            "none",
            "-no-reboot",
            "-serial",
            f"file:{path}.console{self.boots}",
            "-kernel",
            self.parts.kernel,
            "-append",
            command,
            "-device",
            f"loader,file={self.image},addr={INITRD_AT:#x},force-raw=on",
            "-netdev",
            f"dgram,id=net,local.type=unix,local.path={self.folder}/nic{self.number},"
            f"remote.type=unix,remote.path={self.folder}/hub{self.number}",
            "-device",
            f"{'igb' if self.nic == 'igb' else 'virtio-net-pci'},netdev=net,romfile=,"
            f"mac=52:54:00:77:00:{self.number + 1:02x}",
            "-device",
            "virtio-serial-pci",
            "-chardev",
            f"socket,id=ctl,path={path}.ctl,server=on,wait=off",
            "-device",
            "virtserialport,chardev=ctl,name=ctl",
            "-chardev",
            f"socket,id=watch,path={path}.watch,server=on,wait=off",
            "-device",
            "virtserialport,chardev=watch,name=watch",
            "-qmp",
            f"unix:{path}.qmp,server=on,wait=off",
        ]
        # A new file for every boot: whoever still looks at the old memory sees the old memory.
        if os.path.exists(self.ram):
            os.unlink(self.ram)
        fd = os.open(self.ram, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        os.ftruncate(fd, MEMORY_MIB << 20)
        self.memory = mmap.mmap(fd, MEMORY_MIB << 20)
        os.close(fd)
        self.log = open(path + ".log", "ab")
        # What the offset was until a wake changed it: between which of the guest's counters that was, and the offset.
        self.eras = []
        self.started = self.counter.read()
        self.process = subprocess.Popen(
            words,
            env=self.parts.environment,
            stdin=subprocess.DEVNULL,
            stdout=self.log,
            stderr=self.log,
            preexec_fn=dying_with_us(self.nice),
        )
        self.console = f"{path}.console{self.boots}"
        self.boots += 1
        self.asked = 0
        self.control = self._connect(path + ".ctl")
        self.watch = self._connect(path + ".watch")
        threading.Thread(target=self._listen, args=(self.watch,), daemon=True).start()

    def _connect(self, path):
        deadline = time.monotonic() + 30
        while True:
            try:
                link = socket.socket(socket.AF_UNIX)
                link.connect(path)
                return link
            except OSError:
                link.close()
                if self.process.poll() is not None or time.monotonic() > deadline:
                    self.died("did not start")
                time.sleep(0.02)

    def died(self, what):
        log = open(f"{self.folder}/{self.name}.log", errors="replace").read()[-600:]
        console = open(self.console, errors="replace").read()[-600:] if os.path.exists(self.console) else ""
        raise Died(f"guest {self.name} {what}; QEMU said {log!r}; its console ends in {console!r}")

    def _listen(self, link):
        rest = b""
        try:
            while data := link.recv(65536):
                *whole, rest = (rest + data).split(b"\n")
                # With the offset that the counter had then: a wake changes it.
                self.watched.extend((self.offset, line) for line in whole)
        except OSError:
            pass

    def ask(self, command, timeout_s=60, before_answer=None):
        """Runs a command in the guest's shell; its exit code and what it printed."""
        self.asked += 1
        self.control.settimeout(timeout_s)
        try:
            self.control.sendall(f"{self.asked} {command}\n".encode())
            if before_answer:
                before_answer()
            head = b""
            while not head.endswith(b"\n"):
                byte = self.control.recv(1)
                if not byte:
                    self.died(f"has gone during {command!r}")
                head += byte
            number, code, size = (int(word) for word in head.split())
            text = b""
            while len(text) < size:
                text += self.control.recv(size - len(text))
        except (OSError, TimeoutError) as error:
            self.died(f"did not answer {command!r} within {timeout_s} s ({error})")
        assert number == self.asked, "answers come in order"
        return code, text

    def run(self, command, timeout_s=60):
        """As `ask`, text only; a failure is the laboratory's."""
        code, text = self.ask(command, timeout_s)
        if code:
            raise Died(f"guest {self.name}: {command!r} failed with {code}: {text.decode(errors='replace')[-400:]}")
        return text.decode(errors="replace")

    def find_truth(self):
        """Finds the data page and the counter's offset, and checks both against what the guest says."""
        self.page = self.offset = None
        page = truth.Page(self.memory)
        exact = self._counter_offset()
        magic = secrets.token_bytes(32)
        words = "".join(f"{int.from_bytes(magic[n:n + 8], 'little'):016x}" for n in range(0, 32, 8))
        bracket = []
        self.ask(
            "meet " + words,
            120,
            before_answer=lambda: bracket.extend(
                truth.meet(self.memory, magic, self.counter, MEETING_NS * self.counter.khz * 1e-6)
            ),
        )
        low, high, rounds = bracket
        cycle_ns = 1e6 / self.counter.khz
        # Without the exact constant the middle of the bracket serves, half a bracket good.
        offset = exact if exact is not None else (low + high) // 2
        outside = []
        for _ in range(20):
            said = json.loads(self.run("labguest show"))
            clocks = page.read()
            outside.append(
                max(clocks.real_ns(said["tsc0"]) - said["real_ns"], said["real_ns"] - clocks.real_ns(said["tsc1"]))
            )
        self.validation = {
            "layout": page.layout,
            "offset_exact": exact is not None,
            "meeting_rounds": rounds,
            "meeting_bracket_ns": (high - low) * cycle_ns,
            "offset_above_low_ns": (offset - low) * cycle_ns,
            "offset_below_high_ns": (high - offset) * cycle_ns,
            # Positive: what was computed here lies outside of what the guest's own two counter readings allow.
            "page_outside_ns": max(outside),
        }
        self.offset, self.page = offset, page
        return self.validation

    def _counter_offset(self):
        """The offset out of QEMU. The two words may be caught between two writes; a few looks make sure of them."""
        for _ in range(5):
            found = truth.counter_offset(self.process.pid, self.started, self.counter)
            if found is not None:
                return found
            time.sleep(0.05)
        return None

    def forget_file(self):
        """Takes the name of the memory's file away: both ends have it open, and nothing can be left lying about."""
        if os.path.exists(self.ram):
            os.unlink(self.ram)

    def host_counter(self, counter):
        """This machine's counter when the guest's was `counter`, also before a wake, but of this boot only; None if it
        cannot be told whether that was before the guest stood still or after.
        """
        for low, high, offset in self.eras:
            if counter < low:
                return counter - offset
            if counter <= high:
                return None
        return counter - self.offset

    def pause(self):
        """Stops the process: the guest does nothing, but its counter and so its clock run on."""
        self.frozen = True
        os.kill(self.process.pid, signal.SIGSTOP)

    def resume(self):
        os.kill(self.process.pid, signal.SIGCONT)
        self.frozen = False

    def suspend(self):
        """Stops the machine as a migration does: its counter stands still."""
        self.frozen = True
        before = self.counter.read()
        self._monitor("stop")
        self.stood = (before + self.offset, self.counter.read() + self.offset)

    def wake(self):
        """Lets it go on: its clocks are late by the time it stood still, and its counter has another offset."""
        before, old = self.counter.read(), self.offset
        self._monitor("cont")
        after = self.counter.read()
        self.offset = self._counter_offset()
        if self.offset is None:
            raise Died(f"guest {self.name}: the counter's offset after the wake was not found")
        # Its counter stood at one value, which both ends of the standstill bracket.
        low, high = self.stood
        self.eras.append((max(low, before + self.offset), min(high, after + self.offset), old))
        self.frozen = False

    def _monitor(self, command):
        with socket.socket(socket.AF_UNIX) as link:
            link.settimeout(30)
            link.connect(f"{self.folder}/{self.name}.qmp")
            lines = link.makefile("rw")
            lines.readline()
            for word in ("qmp_capabilities", command):
                lines.write(json.dumps({"execute": word}) + "\n")
                lines.flush()
                while "return" not in (answer := json.loads(lines.readline())):
                    if "error" in answer:
                        raise Died(f"QEMU refused {word}: {answer}")

    def cpu_s(self):
        """Processor time that the QEMU has used, seconds."""
        fields = open(f"/proc/{self.process.pid}/stat").read().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def end(self):
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        for link in (self.control, getattr(self, "watch", None)):
            if link:
                link.close()
        self.control = self.page = None
        if self.process:
            self.log.close()
