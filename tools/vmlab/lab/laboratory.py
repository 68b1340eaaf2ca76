"""One run of the laboratory: boots the guests, throws their clocks off, runs llts in them, keeps what happened, cleans
up.
"""

import json
import os
import re
import shlex
import struct
import subprocess
import tempfile
import time

from . import image, machine, packages, sampling, truth

PORT = 4123
KEY = "HEX:" + "5a" * 32
BOOT_TIMEOUT_S = 300
BOOTS_MAX = 4
# As flow::StampClass numbers them.
STAMPS = {0: "user", 1: "kernel", 2: "nic"}
# Closer than this nothing is asked of clocks under emulation.
AGREED_NS = 100_000
RECORD_HEAD, RECORD = struct.Struct("<8sHHIQ"), struct.Struct("<QIHBBBBBB4q")


class Laboratory:
    """Guests, hub, sampler, and a folder that is gone afterwards."""

    def __init__(self, options, say):
        self.options, self.say = options, say
        self.cache = options.cache
        self.folder = self.ram = self.hub = self.sampler = None
        self.guests = []
        self.booted = False
        self.playing = None
        self.records = 0
        self._forget()
        self.help = subprocess.run([options.llts, "run", "--help"], capture_output=True, text=True).stdout
        self.begun = time.monotonic()

    def _forget(self):
        """Nothing has happened yet."""
        self.pids, self.usage, self.status, self.logs, self.at_exit = {}, {}, {}, {}, {}
        self.said, self.exchanges = [], []

    def supports(self, option):
        """Whether `llts run` has an option."""
        return re.search(rf"{re.escape(option)}\b", self.help) is not None

    def __enter__(self):
        try:
            self._open()
        except BaseException:
            self.__exit__()
            raise
        return self

    def _open(self):
        options = self.options
        parts = packages.ensure(self.cache, self.say)
        self.folder = tempfile.mkdtemp(prefix="vmlab-")
        # Memory that the disk never sees, where there is room for it.
        room = os.path.isdir("/dev/shm") and os.statvfs("/dev/shm")
        enough = room and room.f_bavail * room.f_frsize > (options.guests + 1) * machine.MEMORY_MIB << 20
        self.ram = tempfile.mkdtemp(prefix="vmlab-", dir="/dev/shm") if enough else self.folder
        self.parts = parts
        self.counter = truth.Counter()
        self.counter.calibrate()
        guest_folder = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "guest")
        self.image = image.build(parts, options.llts, guest_folder, self.cache, self.folder)
        if os.path.getsize(self.image) > machine.IMAGE_MAX:
            raise machine.Died(
                f"the initramfs has {os.path.getsize(self.image) >> 20} MiB, which is more than a guest can take: "
                "is `strip` missing on this machine?"
            )
        self.hub = machine.Hub(parts, self.folder, options.guests, options.nice)
        for n in range(options.guests):
            self.guests.append(
                machine.Guest(
                    n, parts, self.folder, self.ram, self.image, self.counter, options.nic, options.ppm[n], options.nice
                )
            )

    def __exit__(self, *_):
        """Ends what was started, by its own handles, and removes the folders; also after a failure."""
        if self.sampler:
            self.sampler._end.set()
            self.sampler._thread.join()
        if self.options.keep and self.folder:
            self.say(f"logs are kept in {self.folder}")
        for guest in self.guests:
            guest.end()
        if self.hub:
            self.hub.end()
        keep = [self.folder] if self.options.keep else []
        for folder in {self.folder, self.ram} - {None, *keep}:
            subprocess.run(["rm", "-rf", "--", folder])

    def boot(self):
        """Starts all guests and makes sure of the truth about each; guests that are up serve again, as if new."""
        at = time.monotonic()
        self._forget()
        if self.booted:
            for guest in self.guests:
                guest.ask("killall -9 llts chronyd; sleep 0.2")
                guest.ask("rm -rf /tmp/llts.log /tmp/record* /var/lib/llts /run/llts")
                guest.watched.clear()
            self.sampler = sampling.Sampler(self.guests, self.counter)
            return
        for guest in self.guests:
            guest.start()
        for guest in self.guests:
            self.await_up(guest)
        self.say(
            f"{len(self.guests)} guests are up after {time.monotonic() - at:.0f} s "
            f"(Linux {self.parts.release}, QEMU {self.parts.versions.get('qemu-system-x86', 'as found')})"
        )
        for guest in self.guests:
            self.check_truth(guest)
        self.sampler = sampling.Sampler(self.guests, self.counter)
        self.booted = True

    def await_up(self, guest):
        """Waits until a guest obeys and its timer ticks. On a busy machine the kernel may find its timer too slow while
        it measures it, and then does without: such a guest would sleep for ever, so it is booted again.
        """
        for _ in range(BOOTS_MAX):
            guest.run("true", BOOT_TIMEOUT_S)
            guest.forget_file()
            ticks = "grep LOC: /proc/interrupts"
            before = guest.run(ticks)
            time.sleep(1)
            if guest.run(ticks) != before:
                return
            self.say(f"the timer of {guest.name} does not tick: booting it again")
            guest.end()
            guest.start()
        raise machine.Died(f"guest {guest.name} has no timer after {BOOTS_MAX} boots")

    def check_truth(self, guest):
        seen = guest.find_truth()
        self.say(
            f"truth of {guest.name}: layout {seen['layout']}; counter offset "
            f"{'out of QEMU' if seen['offset_exact'] else 'GUESSED from the meeting'}, "
            f"{seen['offset_above_low_ns']:.0f} ns above and {seen['offset_below_high_ns']:.0f} ns below the limits "
            f"that "
            f"{seen['meeting_rounds']} meetings allow; 20 readings of the guest's own: outside by "
            f"{seen['page_outside_ns']} ns (negative: inside)"
        )

    def throw_off(self, guest, offset_ns):
        """Steps a guest's clock so that it is `offset_ns` ahead of the time of this machine, which is only read."""
        page = guest.page
        for _ in range(2):
            counter = self.counter.read()
            host_ns = time.clock_gettime_ns(time.CLOCK_REALTIME)
            wrong_ns = page.read().real_ns(counter + guest.offset) - host_ns - offset_ns
            guest.run(f"labguest step {-wrong_ns}")
        guest.run("labguest freq 0")

    def start(self, n, *words):
        """Starts the watch and llts in a guest."""
        guest = self.guests[n]
        peers = ",".join(f"{other.ip}:{PORT}" for other in self.guests if other is not guest)
        options = self.options
        self.records += 1
        guest.record = f"/tmp/record{self.records}"
        command = [
            "llts",
            "run",
            "--clock",
            "system",
            "--listen-addr",
            f"{guest.ip}:{PORT}",
            "--name",
            guest.name,
            "--hmac-key",
            KEY,
            "--peers",
            peers,
            "--no-discovery",
            "--poll-mode",
            "block",
            "--rate",
            str(options.rate),
            "--algorithm",
            options.algorithm,
            "--record",
            guest.record,
            *words,
            *shlex.split(options.llts_args),
        ]
        guest.run("pidof labguest | grep -q ' ' || (setsid labguest watch 250 </dev/null >/dev/null 2>&1 &)")
        line = " ".join(shlex.quote(word) for word in command)
        pid = guest.run(f"setsid {line} </dev/null >>/tmp/llts.log 2>&1 & echo $!").strip()
        self.pids[n] = int(pid)
        self.usage[n] = [self._usage(n)]
        self.sampler.mark(f"llts started in {guest.name}")

    def _usage(self, n):
        """Processor seconds of a guest's llts, its resident memory in bytes, and the guest's uptime in seconds."""
        pid = self.pids[n]
        code, text = self.guests[n].ask(f"cat /proc/{pid}/stat; grep VmRSS /proc/{pid}/status; cat /proc/uptime")
        found = re.search(r"\) (.*)\nVmRSS:\s+(\d+) kB\n(\S+)", text.decode(errors="replace"))
        if code or not found:
            return None
        fields = found[1].split()
        return (int(fields[11]) + int(fields[12])) / 100, int(found[2]) * 1024, float(found[3])

    def runs(self, n):
        """Whether the guest's llts runs; one that has ended and was not waited for has no program any more."""
        return self.guests[n].ask(f"[ -e /proc/{self.pids[n]}/exe ]")[0] == 0

    def agreed_now_ns(self):
        """What counts as agreement: what was asked for, or, on a machine too busy for that, half of the shortest round
        trips that llts sees, of which one exchange can be wrong.
        """
        if self.options.agreed_ns:
            return self.options.agreed_ns
        delays = []
        for guest in self.guests:
            for _, line in guest.watched[-8:]:
                found = re.findall(rb'"delay_ns":\s*([0-9.e+]+)', line)
                delays = delays + [float(delay) for delay in found]
        return max(AGREED_NS, sorted(delays)[len(delays) // 2] / 2) if delays else AGREED_NS

    def log(self, n):
        """What the guest's llts has logged so far."""
        return self.guests[n].ask("cat /tmp/llts.log")[1].decode(errors="replace")

    def agreed(self, limit_ns, timeout_s, hold_s=2.0):
        """Waits until all clocks were within `limit_ns()` for `hold_s`; the seconds without that hold, or None."""
        begun = self.sampler.now_s()
        deadline = time.monotonic() + timeout_s + hold_s
        while time.monotonic() < deadline:
            now_s = self.sampler.now_s()
            recent = [s.spread_ns() for s in self.sampler.between(max(begun, now_s - hold_s), now_s)]
            if now_s - begun >= hold_s and len(recent) > 10 and None not in recent and max(recent) <= limit_ns():
                above = sampling.last_above(self.sampler.between(begun, now_s), limit_ns(), sampling.Sample.spread_ns)
                return (above or begun) - begun
            if self.sampler.fault:
                raise self.sampler.fault
            time.sleep(0.1)
        return None

    def finish(self):
        """Asks the guests for everything, ends llts in them, and makes of the watches' lines what they mean."""
        for n, guest in enumerate(self.guests):
            if guest.page is None:
                continue
            if n in self.pids:
                self.usage[n].append(self._usage(n))
            code, text = guest.ask("llts status --json")
            self.status[n] = json.loads(text) if code == 0 else None
        records = {}
        for n, guest in enumerate(self.guests):
            if n not in self.pids or guest.page is None:
                continue
            before = json.loads(guest.run("labguest show"))
            pid = self.pids[n]
            guest.ask(
                f"kill -TERM {pid}; for k in 1 2 3 4 5 6 7 8 9 10; do "
                f"[ -e /proc/{pid}/exe ] || break; usleep 200000; done"
            )
            gone = not self.runs(n)
            self.at_exit[n] = {"before": before, "after": json.loads(guest.run("labguest show")), "gone": gone}
            self.logs[n] = self.log(n)
            records[n] = guest.ask(f"cat {guest.record}")[1]
        if self.options.records:
            os.makedirs(self.options.records, exist_ok=True)
            for n, data in records.items():
                with open(
                    os.path.join(self.options.records, f"{self.playing}-{self.guests[n].name}.rec"), "wb"
                ) as file:
                    file.write(data)
        self.sampler.end()
        for guest in self.guests:
            for offset, line in guest.watched:
                try:
                    self.said.append(sampling.Said(guest, offset, line, self.sampler))
                except (ValueError, KeyError):
                    pass  # the line in which a guest was killed
        self.said.sort(key=lambda said: said.counter)
        self.exchanges = exchanges_of(records, self.guests, self.sampler)
        return self


class Exchange:
    """One exchange of a recording, its true delays known: `asymmetry_ns`, half their difference, is the error that this
    exchange alone would make, and a delay below zero a stamp that cannot be true.
    """

    __slots__ = ("at_s", "guest", "peer", "forward_ns", "backward_ns", "asymmetry_ns", "stamps")

    def __init__(self, at_s, guest, peer, forward_ns, backward_ns, stamps):
        self.at_s, self.guest, self.peer, self.stamps = at_s, guest, peer, stamps
        self.forward_ns, self.backward_ns = forward_ns, backward_ns
        self.asymmetry_ns = (forward_ns - backward_ns) / 2


def exchanges_of(records, guests, sampler):
    """Every exchange of every recording. Each stamp is turned into this machine's counter through its guest's raw
    clock, which is exact; what remains is what the stamps themselves were wrong by, and the wires between.
    """
    nodes, found = {}, []
    clocks = {n: guests[n].page.read() for n in records}
    for n, data in records.items():
        if len(data) >= RECORD_HEAD.size and data[:8] == b"llts-rec":
            nodes[RECORD_HEAD.unpack_from(data)[4]] = n

    def counter(n, raw_ns):
        return guests[n].host_counter(clocks[n].counter_at_raw(raw_ns))

    for n, data in records.items():
        if n not in nodes.values():
            continue
        size, cycle_ns = RECORD_HEAD.unpack_from(data)[2], 1e6 / guests[n].counter.khz
        for at in range(RECORD_HEAD.size, len(data) - size + 1, size):
            fields = RECORD.unpack_from(data, at)
            other = nodes.get(fields[0])
            if other is None:
                continue
            sent, reached, answered, received = fields[-4:]
            ends = counter(n, sent), counter(other, reached), counter(other, answered), counter(n, received)
            if None in ends or ends[3] < guests[other].started:
                continue  # across a standstill; with an earlier boot of the peer, whose raw clock has gone with it
            forward, backward = ends[1] - ends[0], ends[3] - ends[2]
            stamps = (STAMPS.get(fields[6], "?"), STAMPS.get(fields[5], "?"))
            found.append(
                Exchange(sampler.at_s(ends[3]), n, other, forward * cycle_ns, backward * cycle_ns, stamps)
            )
    return sorted(found, key=lambda exchange: exchange.at_s)
