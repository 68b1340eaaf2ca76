"""What a run prints: the true error over time as a table, and everything as one JSON object."""

import statistics

from .checks import us


def table(lab):
    """True offsets of the guests from the mean of those that are there, with what each said of itself."""
    sampler = lab.sampler
    events = list(sampler.events)
    if not sampler.samples or not events:
        return []
    head = f"{'time':>7}  {'spread':>12}"
    for guest in lab.guests:
        head += f"  {guest.name + ' minus mean':>14} {'rate':>10} {'maxerror':>11} {'state':>8}"
    lines = [head]
    # From just before the first start: densely while much happens, then every five seconds.
    first, last = events[0][0], sampler.samples[-1].at_s
    at_s = first - 0.1
    while at_s <= last:
        while events and events[0][0] <= at_s:
            lines.append(f"{events[0][0] - first:6.1f}s  -- {events[0][1]}")
            events.pop(0)
        lines.append(row(lab, min(sampler.samples, key=lambda s: abs(s.at_s - at_s)), first))
        since = at_s - max([at for at, _ in sampler.events if at <= at_s], default=first)
        at_s += 0.5 if since < 2 else 1.0 if since < 5 else 5.0
    return lines + [f"{at - first:6.1f}s  -- {text}" for at, text in events]


def row(lab, sample, first):
    there = [real for real in sample.real_ns if real is not None]
    mean = sum(real - there[0] for real in there) / len(there) if there else 0
    line = f"{sample.at_s - first:6.1f}s  {us(sample.spread_ns()) if len(there) > 1 else '-':>12}"
    for n, real in enumerate(sample.real_ns):
        said = last_said(lab, n, sample.at_s)
        # An absolute time is subtracted as a whole number before it becomes a float.
        line += f"  {us(real - there[0] - mean) if real is not None else '-':>14}"
        line += f" {sample.rate[n] * 1e6:+9.1f}p" if sample.rate[n] is not None else f" {'-':>10}"
        line += f" {('unsync' if not said.synchronised else us(said.maxerror_ns)) if said else '-':>11}"
        line += f" {lab_state(lab, n, sample.at_s) or '-':>8}"
    return line


def last_said(lab, n, at_s):
    return next((s for s in reversed(lab.said) if s.guest == n and at_s - 1.5 <= s.at_s <= at_s), None)


def lab_state(lab, n, at_s):
    said = next((s for s in reversed(lab.said) if s.guest == n and s.llts and at_s - 3 <= s.at_s <= at_s), None)
    return said.llts.get("state") if said else None


def costs(lab):
    """Processor and memory of each llts, in its guest, and of each QEMU out here."""
    lines = []
    for n, usage in lab.usage.items():
        known = [seen for seen in usage if seen]
        if len(known) < 2:
            continue
        cpu, wall = known[-1][0] - known[0][0], known[-1][2] - known[0][2]
        lines.append(
            f"{lab.guests[n].name}: llts used {cpu:.2f} s of processor in {wall:.0f} s "
            f"({100 * cpu / max(wall, 1):.1f} % of the emulated core), resident {known[-1][1] / 1e6:.1f} MB"
        )
    return lines


def exchanges(lab):
    """What single exchanges were worth, by ten seconds: the true delays and half their difference."""
    if not lab.exchanges:
        return []
    first = lab.exchanges[0].at_s
    lines = [
        f"{'exchanges':>12} {'number':>7} {'|asymmetry|':>12} {'shortest':>12} {'median delay':>12} "
        f"{'impossible':>10}  stamps sent/received"
    ]
    spans = {}
    for exchange in lab.exchanges:
        spans.setdefault(int((exchange.at_s - first) // 10), []).append(exchange)
    for span, members in sorted(spans.items()):
        delays = [delay for e in members for delay in (e.forward_ns, e.backward_ns)]
        kinds = {}
        for e in members:
            kinds["/".join(e.stamps)] = kinds.get("/".join(e.stamps), 0) + 1
        lines.append(
            f"{span * 10:4}..{span * 10 + 10:4} s {len(members):7} "
            f"{us(statistics.median(abs(e.asymmetry_ns) for e in members)):>12} {us(min(delays)):>12} "
            f"{us(statistics.median(delays)):>12} {sum(d < 0 for d in delays):10}  "
            + ", ".join(f"{kind} {count}" for kind, count in sorted(kinds.items()))
        )
    return lines


def convergence(lab):
    """When the spread was last above each of some limits, counted from the first start of llts."""
    started = next((at for at, text in lab.sampler.events if text.startswith("llts started")), 0.0)
    lines = []
    for limit_ns in (10e6, 1e6, 100e3, 10e3):
        above = [s.at_s for s in lab.sampler.samples if s.at_s >= started and (s.spread_ns() or 0) > limit_ns]
        after = [s for s in lab.sampler.samples if above and s.at_s > above[-1] and s.spread_ns() is not None]
        if not above:
            lines.append(f"never further apart than {us(limit_ns)}")
        elif len(after) < 10:
            lines.append(f"not within {us(limit_ns)} at the end")
        else:
            lines.append(f"within {us(limit_ns)} for good {above[-1] - started:.1f} s after the first start")
    return lines


def document(lab, name, checks):
    """Everything as one object, for --json."""
    steady = [d for s in lab.sampler.samples[-int(len(lab.sampler.samples) / 3) :] for d in s.pairs().values()]
    return {
        "scenario": name,
        "guests": len(lab.guests),
        "nic": lab.options.nic,
        "offsets_ns": lab.options.offsets_ns,
        "ppm": lab.options.ppm,
        "kernel": lab.parts.release,
        "counter_khz": lab.counter.khz,
        "truth": {guest.name: guest.validation for guest in lab.guests},
        "checks": [{"name": c.name, "ok": c.ok, "seen": c.seen} for c in checks],
        "steps": [{"at_s": at, "guest": n, "step_ns": ns} for at, n, ns in lab.sampler.steps],
        "events": [{"at_s": at, "text": text} for at, text in lab.sampler.events],
        "median_pair_last_third_ns": statistics.median(steady) if steady else None,
        "exchanges": [
            {
                "at_s": round(e.at_s, 4),
                "guest": e.guest,
                "peer": e.peer,
                "forward_ns": e.forward_ns,
                "backward_ns": e.backward_ns,
                "stamps": e.stamps,
            }
            for e in lab.exchanges
        ],
        "costs": costs(lab),
        "convergence": convergence(lab),
        "samples": [
            {
                "at_s": round(s.at_s, 4),
                "spread_ns": s.spread_ns(),
                "behind_first_ns": [None if r is None or s.real_ns[0] is None else r - s.real_ns[0] for r in s.real_ns],
                "rate_ppm": [None if r is None else r * 1e6 for r in s.rate],
            }
            for s in lab.sampler.samples[::5]
        ],
        "status": lab.status,
    }
