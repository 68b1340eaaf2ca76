"""What is held against what happened. Each check has a name, so that it can be run and reported alone, and says in one
line what it saw and what it asks.
"""

import statistics

from . import sampling

# A clock whose kernel calls it synchronised may be further from another such clock than its maxerror never. The
# kernel's unit is a microsecond, so one is granted.
GRAIN_NS = 1_000
# The status is a tick old, in which a clock may have been slewed, and its clock is read a moment later.
EDGE_GRAIN_NS = 100_000


class Check:
    """The outcome of one check: good, failed, or not to be had (`ok` is None) in this run."""

    def __init__(self, name, ok, seen):
        self.name, self.ok, self.seen = name, ok, seen

    def line(self):
        return f"{'skip' if self.ok is None else 'good' if self.ok else 'FAIL'}  {self.name}: {self.seen}"


def us(ns):
    return "unknown" if ns is None else f"{ns / 1e3:.1f} us" if abs(ns) < 1e6 else f"{ns / 1e6:.3f} ms"


def truth_is_exact(lab):
    """The truth itself is checked first: without it nothing below means anything."""
    found = []
    for guest in lab.guests:
        seen = guest.validation
        margin = min(seen["offset_above_low_ns"], seen["offset_below_high_ns"])
        found.append(
            Check(
                f"truth.{guest.name}",
                # Both brackets allow for the grain of a nanosecond and of the counters of two cores.
                seen["offset_exact"] and margin > -100 and seen["page_outside_ns"] <= 1,
                f"offset {'exact' if seen['offset_exact'] else 'guessed'}, inside its bracket of "
                f"{us(seen['meeting_bracket_ns'])} by {us(margin)}; "
                f"the guest's own readings outside by {seen['page_outside_ns']} ns (asked: at most 1)",
            )
        )
    return found


def agreement(lab, from_s, to_s, factor=1.5):
    """Median pairwise distance against the median of one exchange's own asymmetry."""
    distances = [d for sample in lab.sampler.between(from_s, to_s) for d in sample.pairs().values()]
    asymmetry = [abs(exchange.asymmetry_ns) for exchange in lab.exchanges if from_s <= exchange.at_s <= to_s]
    if not distances or not asymmetry:
        return Check("agreement.median", None, f"{len(distances)} samples and {len(asymmetry)} exchanges")
    median, single = statistics.median(distances), statistics.median(asymmetry)
    return Check(
        "agreement.median",
        median <= factor * single,
        f"median pairwise |true error| {us(median)}, median asymmetry of one exchange {us(single)}, "
        f"ratio {median / single:.2f} (asked: at most {factor})",
    )


def causal(lab):
    """No pair of stamps says that a packet arrived before it left."""
    early = [
        (delay, exchange)
        for exchange in lab.exchanges
        for delay in (exchange.forward_ns, exchange.backward_ns)
        if delay < -GRAIN_NS
    ]
    told = ""
    if early:
        worst = min(early, key=lambda pair: pair[0])
        told = (
            f"; worst {us(worst[0])} at {worst[1].at_s:.1f} s between {lab.guests[worst[1].guest].name} and "
            f"{lab.guests[worst[1].peer].name}"
        )
    return Check(
        "stamps.causal",
        not early if lab.exchanges else None,
        f"{len(early)} of {2 * len(lab.exchanges)} packets arrived before they left{told} (asked: none)",
    )


def converged(lab, name, took_s, limit_ns, within_s):
    seen = "never" if took_s is None else f"after {took_s:.1f} s"
    return Check(
        name,
        took_s is not None and took_s <= within_s,
        f"within {us(limit_ns)} of each other for good {seen} (asked: {within_s:.0f} s)",
    )


def steps_at_start(lab, started_s, until_s, threshold_ns, moved_ns):
    """At most one step for each clock, and one for each that had clearly further to go than the threshold, by what a
    single exchange of these guests can be wrong; only at start. What comes after `until_s`, when something was done to
    the guests, is for other checks.
    """
    asymmetries = sorted(abs(exchange.asymmetry_ns) for exchange in lab.exchanges)
    doubt_ns = max(0.5 * threshold_ns, 2 * asymmetries[int(len(asymmetries) * 0.9)] if asymmetries else 0)
    per_guest = {n: [] for n in range(len(lab.guests))}
    for at_s, n, step_ns in lab.sampler.steps:
        if started_s <= at_s < until_s:
            per_guest[n].append((at_s - started_s, step_ns))
    bad = []
    for n, steps in per_guest.items():
        due = moved_ns[n] is not None and abs(moved_ns[n]) > threshold_ns + doubt_ns
        if len(steps) > 1 or (due and not steps) or any(at_s > 20 for at_s, _ in steps):
            bad.append(n)
    told = "; ".join(
        f"{lab.guests[n].name} " + (", ".join(f"{us(ns)} at {at:.1f} s" for at, ns in steps) or "none")
        for n, steps in per_guest.items()
    )
    return Check(
        "steps.once",
        not bad,
        f"{told} (asked: one for whoever is {us(threshold_ns + doubt_ns)} off, within 20 s; never two)",
    )


def steps_after(lab, from_s, allowed=(), name="steps.none-after"):
    """No step after the start, but for those that are `allowed`, once each: guest, size, how far from it."""
    steps = [step for step in lab.sampler.steps if step[0] >= from_s]
    seen = ", ".join(f"{lab.guests[n].name} {us(ns)} at {at:.1f} s" for at, n, ns in steps)
    for guest, size, slack in allowed:
        steps = without_one(steps, lambda step: step[1] == guest and abs(step[2] - size) <= slack)
    asked = "none" if not allowed else "none but " + ", ".join(f"{lab.guests[n].name} {us(ns)}" for n, ns, _ in allowed)
    return Check(name, not steps, f"{seen or 'none'} (asked: {asked})")


def without_one(steps, fits):
    """The steps without the first that fits."""
    at = next((n for n, step in enumerate(steps) if fits(step)), None)
    return steps if at is None else steps[:at] + steps[at + 1 :]


def maxerror_holds(lab, from_s, victim=None, at_s=None, only=None, name="kernel.maxerror", without=(0, 0)):
    """Whenever a kernel calls itself synchronised, no other synchronised clock is further away than its maxerror. What
    something was done to at `at_s` is left out from then on: the others cannot know, and it has a check of its own,
    which judges `only` it. Nothing is judged between the ends of `without`.
    """
    broken, judged, worst = [], 0, 0.0
    known = {}
    for said in lab.said:
        known[said.guest] = said
        if said.at_s < from_s or not said.synchronised or only not in (None, said.guest):
            continue
        if without[0] <= said.at_s <= without[1]:
            continue
        for other, difference in said.differences_ns(lab.sampler).items():
            last, distance = known.get(other), abs(difference)
            if last is None or not last.synchronised or said.at_s - last.at_s > 1.0:
                continue
            if at_s is not None and victim in (said.guest, other) and said.at_s >= at_s:
                continue
            judged += 1
            worst = max(worst, distance / max(said.maxerror_ns, 1))
            if distance > said.maxerror_ns + GRAIN_NS:
                broken.append((said, distance))
    told = ""
    if broken:
        said, distance = broken[0]
        told = (
            f"; first: {lab.guests[said.guest].name} at {said.at_s:.1f} s was {us(distance)} away, "
            f"said {us(said.maxerror_ns)}"
        )
    return Check(
        name,
        None if not judged else not broken,
        f"broken {len(broken)} times in {judged} pairs, worst distance / maxerror {worst:.2f}{told} (asked: 0 times)",
    )


def edges_hold(lab, from_s, until_s):
    """What llts says of each peer is within the bound that it gives: the offset of its clock from the peer's, against
    the truth.
    """
    broken, judged, errors = [], 0, []
    for said in lab.said:
        if not said.llts or not from_s <= said.at_s < until_s:
            continue
        there = said.differences_ns(lab.sampler)
        for peer in said.llts.get("peers", []):
            other = next((g.number for g in lab.guests if peer["name"].split(":")[0] == g.name), None)
            if other not in there or peer.get("offset_ns") is None or peer.get("bound_ns") is None:
                continue
            judged += 1
            error_ns = peer["offset_ns"] - there[other]
            errors.append(abs(error_ns))
            if abs(error_ns) > peer["bound_ns"] + EDGE_GRAIN_NS:
                broken.append((said, other, error_ns, peer["bound_ns"]))
    told = ""
    if broken:
        said, other, error_ns, bound_ns = max(broken, key=lambda entry: abs(entry[2]))
        told = (
            f"; worst: {lab.guests[said.guest].name} at {said.at_s:.1f} s was wrong about {lab.guests[other].name} by "
            f"{us(error_ns)}, said {us(bound_ns)}"
        )
    return Check(
        "edges.bound",
        None if not judged else not broken,
        f"broken {len(broken)} times in {judged}, median error {us(statistics.median(errors)) if errors else 'unknown'}"
        f"{told} (asked: 0 times)",
    )


def synchronised_at(lab, at_s, given_up=None):
    """The kernel says synchronised, with nanoseconds and its own loop off, in the last line of each guest before
    `at_s`; that of a guest whose clock nobody has in hand says the contrary.
    """
    bad, told = [], []
    for guest in lab.guests:
        lines = [said for said in lab.said if said.guest == guest.number and at_s - 2 <= said.at_s <= at_s]
        if not lines:
            bad.append(guest.name)
            told.append(f"{guest.name} says nothing")
            continue
        said = lines[-1]
        if guest.number == given_up:
            if said.synchronised:
                bad.append(guest.name)
            told.append(f"{guest.name} is {'' if said.synchronised else 'not '}called synchronised (asked: not)")
            continue
        if (
            not said.synchronised
            or said.status & sampling.STA_PLL
            or not said.status & sampling.STA_NANO
            or said.maxerror_ns >= 16e9
        ):
            bad.append(guest.name)
        told.append(
            f"{guest.name} status {said.status:#x} maxerror {us(said.maxerror_ns)} esterror {us(said.esterror_ns)} "
            f"freq {said.freq_ppm:+.2f} ppm"
        )
    return Check("kernel.synchronised", not bad, "; ".join(told))


def unsynchronised_at_exit(lab):
    """After SIGTERM: gone, STA_UNSYNC set, and the frequency left where llts had it."""
    bad, told = [], []
    for n, seen in lab.at_exit.items():
        before = [said.freq_ppm for said in lab.said if said.guest == n and said.tsc0 <= seen["before"]["tsc0"]][-40:]
        if not before:
            continue
        middle, spread = statistics.median(before), statistics.pstdev(before)
        drift = seen["after"]["freq"] / 65536 - middle
        unsync = bool(seen["after"]["status"] & sampling.STA_UNSYNC)
        limit = max(5.0, 3 * spread)
        if not seen["gone"] or not unsync or abs(drift) > limit:
            bad.append(n)
        told.append(
            f"{lab.guests[n].name} {'gone' if seen['gone'] else 'still there'}, "
            f"{'unsynchronised' if unsync else 'still called synchronised'}, frequency "
            f"{drift:+.1f} ppm from its median "
            f"of the last 10 s (asked: {limit:.0f})"
        )
    return Check("exit.kernel", not bad if told else None, "; ".join(told) or "no llts was there at the end")


def leap_taken(lab, before, after, bit):
    """Every kernel has moved its TAI offset by the leap, and those that llts steers are told of none any more."""
    bad, told = [], []
    for guest in lab.guests:
        old, new = before[guest.name], after[guest.name]
        announced = bool(old["status"] & bit), bool(new["status"] & bit)
        taken = new["tai_s"] - old["tai_s"]
        if taken != 1 or not announced[0] or (announced[1] and guest.number != 0):
            bad.append(guest.name)
        told.append(
            f"{guest.name} {'announced' if announced[0] else 'not announced'} before, "
            f"{'still' if announced[1] else 'not'} after, TAI offset {taken:+} s"
        )
    return Check(
        "leap.kernel", not bad, "; ".join(told) + " (asked: announced to all, +1 s, taken back where llts announced it)"
    )


def together_but_for_seconds(lab, from_s, to_s, limit_ns, whole_from_s):
    """Leap seconds apart the clocks stay together; and with them from `whole_from_s` on."""
    second = 1_000_000_000
    worst = whole = 0
    for sample in lab.sampler.between(from_s, to_s):
        if None in sample.real_ns:
            continue
        for distance in sample.pairs().values():
            worst = max(worst, min(distance % second, second - distance % second))
            whole = max(whole, distance if sample.at_s >= whole_from_s else 0)
    return Check(
        "leap.together",
        max(worst, whole) <= limit_ns,
        f"at most {us(worst)} apart but for whole seconds, {us(whole)} in all from a second after midnight on "
        f"(asked: {us(limit_ns)})",
    )


def slew_within(lab, from_s, limit_ppm):
    """No clock was ever set to run faster or slower than the limit allows, as its kernel's multiplier shows."""
    worst = max(
        (abs(rate) for sample in lab.sampler.between(from_s, 1e9) for rate in sample.rate if rate is not None),
        default=None,
    )
    # The limit is around the cluster's own rate: the guests' oscillators are off by up to 100 ppm.
    return Check(
        "slew.limit",
        None if worst is None else worst * 1e6 <= limit_ppm + 120,
        f"fastest {0 if worst is None else worst * 1e6:.1f} ppm (asked: {limit_ppm:.0f} ppm, and 120 for oscillators)",
    )


def said_in_log(lab, n, name, text, words):
    """One of the words stands in what a guest's llts logged after something happened."""
    import re

    lines = [line for line in text.splitlines() if re.search(words, line, re.IGNORECASE)]
    return Check(
        name,
        bool(lines),
        f"{lab.guests[n].name}: {lines[0].strip()[:160] if lines else 'no line of its log'} "
        f"(asked: one that has {words})",
    )
