"""The exact time of a guest, read from outside without disturbing it.

A guest keeps its clocks in the data page of its vDSO: `real = base + ((counter - last) * mult >> shift)`. The guest's
memory is a shared mapping, so that page can be read here. Under TCG the guest's counter is this machine's counter plus
a constant, which QEMU keeps in its own memory. Both together give the guest's CLOCK_REALTIME at any reading of this
machine's counter, to the nanosecond, and for several guests at one and the same instant.

Neither place is taken on trust: the constant must lie in the bracket that host and guest find by meeting in shared
memory, and the times computed here must lie between what the guest itself reads.
"""

import array
import ctypes
import mmap
import os
import struct
import time

PAGE = 4096
TSC_MODE = 1
# include/vdso/datapage.h: seq, clock_mode, cycle_last, [max_cycles since 6.10], mask, mult, shift, basetime[12], 16
# bytes.
LAYOUTS = {"since 6.10": ("<IiQQQII24Q", 16), "before 6.10": ("<IiQQII24Q", 16)}
# In the vvar page of x86 the data begin at one of these.
STARTS = (128, 0)
REALTIME, MONOTONIC, RAW, TAI = 0, 1, 4, 11
ALL_ONES = 2**64 - 1
NS = 1_000_000_000
# The number by which the host ends a meeting.
MEETING_ENDS = ALL_ONES


class Counter:
    """This machine's time stamp counter."""

    def __init__(self):
        code = b"\x0f\xae\xe8\x0f\x31\x48\xc1\xe2\x20\x48\x09\xd0\xc3"  # lfence; rdtsc; rax = rdx:rax; ret
        self._memory = mmap.mmap(-1, PAGE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
        self._memory.write(code)
        self._anchor = ctypes.c_char.from_buffer(self._memory)
        self.read = ctypes.CFUNCTYPE(ctypes.c_uint64)(ctypes.addressof(self._anchor))
        self.khz = None

    def _edge(self):
        best = None
        for _ in range(50):
            before = self.read()
            raw = time.clock_gettime_ns(time.CLOCK_MONOTONIC_RAW)
            after = self.read()
            if best is None or after - before < best[0]:
                best = (after - before, (before + after) // 2, raw)
        return best[1:]

    def calibrate(self, seconds=1.0):
        """Its frequency against CLOCK_MONOTONIC_RAW, kHz."""
        counter0, raw0 = self._edge()
        time.sleep(seconds)
        counter1, raw1 = self._edge()
        self.khz = (counter1 - counter0) * 1e6 / (raw1 - raw0)
        return self.khz


class Clocks:
    """One consistent copy of a guest's data page."""

    __slots__ = ("seq", "last", "mult", "shift", "base", "raw_last", "raw_mult", "raw_base")

    def __init__(self, high, raw):
        self.seq, self.last, self.mult, self.shift = high["seq"], high["last"], high["mult"], high["shift"]
        self.base = high["base"]
        self.raw_last, self.raw_mult, self.raw_base = raw["last"], raw["mult"], raw["base"]

    def real_ns(self, counter, which=REALTIME):
        """CLOCK_REALTIME (or MONOTONIC, TAI) at a reading of the guest's counter, ns."""
        seconds, shifted = self.base[2 * which : 2 * which + 2]
        return seconds * NS + (shifted + (counter - self.last) * self.mult >> self.shift)

    def raw_ns(self, counter):
        """CLOCK_MONOTONIC_RAW, ns."""
        seconds, shifted = self.raw_base[2 * RAW : 2 * RAW + 2]
        return seconds * NS + (shifted + (counter - self.raw_last) * self.raw_mult >> self.shift)

    def counter_at_raw(self, raw_ns):
        """The guest's counter when its CLOCK_MONOTONIC_RAW reads `raw_ns`."""
        seconds, shifted = self.raw_base[2 * RAW : 2 * RAW + 2]
        ahead = (raw_ns - seconds * NS << self.shift) - shifted
        return self.raw_last + ahead // self.raw_mult

    def real_minus_mono_ns(self):
        """CLOCK_REALTIME minus CLOCK_MONOTONIC: moves when, and only when, REALTIME is stepped."""
        seconds = self.base[2 * REALTIME] - self.base[2 * MONOTONIC]
        return seconds * NS + (self.base[2 * REALTIME + 1] - self.base[2 * MONOTONIC + 1] >> self.shift)

    def rate(self):
        """How much faster than its oscillator the clock is set to run (seconds per second, grain about 0.1 ppm)."""
        return self.mult / self.raw_mult - 1.0


class Page:
    """The data page of one guest's vDSO, found by its contents."""

    def __init__(self, memory):
        self.memory = memory
        found = []
        for name, (form, tail) in LAYOUTS.items():
            form = struct.Struct(form)
            for start in STARTS:
                for page in range(0, len(memory) - PAGE, PAGE):
                    # Cheap refusal first: the mode of both copies is TSC, that is 1.
                    at = page + start
                    if memory[at + 4 : at + 8] != b"\1\0\0\0":
                        continue
                    if self._plausible(form, at) and self._plausible(form, at + form.size + tail):
                        found.append((name, form, at, at + form.size + tail))
        if len(found) != 1:
            raise LookupError(f"{len(found)} pages of the guest look like the vDSO's data: {[f[0::2] for f in found]}")
        self.layout, self.form, self.at, self.raw_at = found[0]
        self._seq = ctypes.c_uint32.from_buffer(memory, self.at)
        self._raw_seq = ctypes.c_uint32.from_buffer(memory, self.raw_at)

    def _copy(self, form, at):
        fields = form.unpack_from(self.memory, at)
        mask, mult, shift = fields[-27:-24]
        return {
            "seq": fields[0],
            "mode": fields[1],
            "last": fields[2],
            "mask": mask,
            "mult": mult,
            "shift": shift,
            "base": fields[-24:],
        }

    def _plausible(self, form, at):
        copy = self._copy(form, at)
        return copy["mode"] == TSC_MODE and copy["mask"] == ALL_ONES and 8 <= copy["shift"] <= 32 and copy["mult"] > 0

    def read(self):
        """A consistent copy; None if the guest was writing for longer than it ever should."""
        for _ in range(10_000):
            seq, raw_seq = self._seq.value, self._raw_seq.value
            if seq & 1 or raw_seq & 1:
                continue
            high, raw = self._copy(self.form, self.at), self._copy(self.form, self.raw_at)
            if (self._seq.value, self._raw_seq.value) == (seq, raw_seq):
                if high["mode"] != TSC_MODE:
                    raise LookupError("the guest has left the clock source TSC: its time cannot be read any more")
                return Clocks(high, raw)
        return None


def counter_offset(pid, started, counter):
    """The guest's counter minus this machine's, out of the memory of QEMU `pid` that started not before `started`.

    QEMU keeps two neighbouring words (system/cpu-timers): the last counter that it gave out, and the constant. The
    constant is minus the machine's counter when the guest was started, so the pair is unmistakable. None if it is not
    found once.
    """
    ranges = []
    with open(f"/proc/{pid}/maps") as maps:
        wanted = False
        for line in maps:
            fields = line.split()
            low, high = (int(word, 16) for word in fields[0].split("-"))
            path = fields[5] if len(fields) > 5 else ""
            # The program's own data, and the nameless part right behind it (its zeroed data).
            wanted = "qemu-system" in path or (wanted and path == "")
            if wanted and fields[1][:2] == "rw" and high - low <= 1 << 26:
                ranges.append((low, high))
    found = set()
    with open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
        for low, high in ranges:
            memory.seek(low)
            words = array.array("q", memory.read(high - low))
            # Afterwards: the guest goes on reading its counter.
            now = counter.read()
            found |= {
                words[n + 1]
                for n in range(len(words) - 1)
                if started <= -words[n + 1] <= now and 0 < words[n] <= now + words[n + 1]
            }
    return found.pop() if len(found) == 1 else None


def meet(memory, magic, counter, enough, seconds=10.0, rounds_min=100, timeout_s=60):
    """Meets the agent of a guest in its memory until the bracket is `enough` counts narrow, or for some seconds;
    returns the lowest and the highest offset that all rounds allow, and how many rounds there were.

    Each round: read the counter, write a number, wait for the guest to answer with its own counter, read the counter
    again. The guest read its counter in between, so guest minus after <= offset <= guest minus before.
    """
    begun = time.monotonic()
    at = -1
    while at < 0 or at % PAGE:
        at = memory.find(magic, at + 1 if at >= 0 else 0)
        if at < 0:
            if time.monotonic() - begun > timeout_s:
                raise TimeoutError("the guest's agent did not come to the meeting")
            time.sleep(0.02)
    asked, answer, answered = (ctypes.c_uint64.from_buffer(memory, at + 8 * n) for n in (4, 5, 6))
    low, high = -(2**63), 2**63
    met_at = time.monotonic()
    number = 0
    while number < rounds_min or (high - low > enough and time.monotonic() - met_at < seconds):
        number += 1
        spins = 0
        before = counter.read()
        asked.value = number
        while answered.value != number:
            spins += 1
            if spins % 100 == 0:
                # Where cores are scarce the guest may be waiting for this very one.
                os.sched_yield()
                if time.monotonic() - begun > timeout_s:
                    raise TimeoutError("the guest's agent left the meeting")
        after = counter.read()
        low, high = max(low, answer.value - after), min(high, answer.value - before)
    asked.value = MEETING_ENDS
    return low, high, number
