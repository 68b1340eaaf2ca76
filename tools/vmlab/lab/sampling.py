"""What happened: the guests' clocks at the same instants, every step of them, and what they said of themselves."""

import json
import threading
import time

from . import truth

NS = truth.NS
# struct timex: kernel says that the clock is not synchronised; counts in nanoseconds.
STA_UNSYNC, STA_PLL, STA_NANO = 0x40, 0x1, 0x2000
PERIOD_S = 0.04


class Sample:
    """All clocks at one reading of the machine's counter: REALTIME and set rate of each, or None."""

    __slots__ = ("at_s", "counter", "real_ns", "rate", "clocks", "offsets")

    def __init__(self, at_s, counter, real_ns, rate, clocks, offsets):
        self.at_s, self.counter, self.real_ns, self.rate = at_s, counter, real_ns, rate
        self.clocks, self.offsets = clocks, offsets

    def pairs(self):
        """|difference| of every pair that is there, ns, by the numbers of its guests."""
        there = [(n, real) for n, real in enumerate(self.real_ns) if real is not None]
        return {(a, b): abs(x - y) for k, (a, x) in enumerate(there) for b, y in there[k + 1 :]}

    def spread_ns(self):
        """The largest difference of two clocks, ns; None with fewer than two."""
        there = [real for real in self.real_ns if real is not None]
        return max(there) - min(there) if len(there) > 1 else None


class Sampler:
    """Samples until it is ended. A guest that is away, is not up yet or was stopped gives no samples."""

    def __init__(self, guests, counter):
        self.guests, self.counter = guests, counter
        self.samples = []
        self.steps = []  # (at_s, guest, step_ns)
        self.events = []  # (at_s, text)
        self.origin = counter.read()
        self.fault = None
        self._known = {}
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._loop, daemon=True)
        self._thread.start()

    def at_s(self, counter):
        """A reading of the machine's counter as seconds since the start."""
        return (counter - self.origin) / (self.counter.khz * 1e3)

    def now_s(self):
        return self.at_s(self.counter.read())

    def mark(self, text):
        self.events.append((self.now_s(), text))

    def _loop(self):
        try:
            while not self._end.wait(PERIOD_S):
                self._take()
        except Exception as error:  # a sampler that has stopped must not look like a quiet clock
            self.fault = error

    def _take(self):
        clocks = []
        for guest in self.guests:
            # A guest in the middle of a boot has no page, and one that is suspended may have been stopped while
            # writing.
            page, offset = guest.page, guest.offset
            seen = page.read() if page is not None and not guest.frozen else None
            clocks.append((seen, offset))
        counter = self.counter.read()
        at_s = self.at_s(counter)
        real, rate = [], []
        for n, (seen, offset) in enumerate(clocks):
            if seen is None:
                real.append(None)
                rate.append(None)
                continue
            real.append(seen.real_ns(counter + offset))
            rate.append(seen.rate())
            boot, between = self.guests[n].boots, seen.real_minus_mono_ns()
            if n in self._known and self._known[n][0] == boot and self._known[n][1] != between:
                self.steps.append((at_s, n, between - self._known[n][1]))
            self._known[n] = (boot, between)
        self.samples.append(Sample(at_s, counter, real, rate, *zip(*clocks)))

    def end(self):
        self._end.set()
        self._thread.join()
        if self.fault:
            raise self.fault

    def between(self, from_s, to_s):
        return [sample for sample in self.samples if from_s <= sample.at_s <= to_s]


class Said:
    """One line of a guest's watch: what its kernel and its llts said at a moment known to both sides."""

    def __init__(self, guest, offset, line, sampler):
        said = json.loads(line)
        self.guest = guest.number
        self.tsc0, self.tsc1, self.real_ns = said["tsc0"], said["tsc1"], said["real_ns"]
        self.offset = offset
        self.counter = self.tsc0 - offset
        self.at_s = sampler.at_s(self.counter)
        self.maxerror_ns, self.esterror_ns = said["maxerror_us"] * 1000, said["esterror_us"] * 1000
        self.status, self.freq_ppm, self.tick_us = said["status"], said["freq"] / 65536, said["tick_us"]
        self.synchronised = not self.status & STA_UNSYNC
        self.llts = said.get("llts")

    def differences_ns(self, sampler):
        """This guest's clock, as it read it itself, minus each other guest's, ns, by the guests' numbers. The other's
        clock is taken from the latest sample before, so its rate may be a few 10 ms old; empty where there was no
        sample.
        """
        sample = latest(sampler.samples, self.counter)
        if sample is None or self.counter - sample.counter > 0.5 * sampler.counter.khz * 1e3:
            return {}
        return {
            n: self.real_ns - clocks.real_ns(self.counter + sample.offsets[n])
            for n, clocks in enumerate(sample.clocks)
            if n != self.guest and clocks is not None
        }


def latest(samples, counter):
    """The latest sample not after a reading of the counter, by bisection."""
    low, high = 0, len(samples)
    while low < high:
        middle = (low + high) // 2
        if samples[middle].counter <= counter:
            low = middle + 1
        else:
            high = middle
    return samples[low - 1] if low else None


def last_above(samples, limit_ns, value):
    """When `value` of a sample was last above a limit, seconds; None if it never was."""
    at = None
    for sample in samples:
        spread = value(sample)
        if spread is not None and spread > limit_ns:
            at = sample.at_s
    return at


def wait_until(sampler, condition, timeout_s, period_s=0.1):
    """Waits until the latest sample meets a condition; whether it did in time."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if sampler.fault:
            raise sampler.fault
        if sampler.samples and condition(sampler.samples[-1]):
            return True
        time.sleep(period_s)
    return False
