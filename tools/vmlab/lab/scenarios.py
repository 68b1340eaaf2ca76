"""What can be played. A scenario is a function of the laboratory that boots, does something, calls `finish` and returns
its checks; its first line of documentation is what `--list` shows. Another one is another function in the list at the
end.
"""

import calendar
import json
import time

from . import checks, laboratory, machine
from .checks import us

# "In agreement" after something was done is what agreement was before it; or, where the clocks did more, three times
# what they did, but no more than three times that.
RECOVER_S = 5.0
SETTLE_S = 60.0
STEP_THRESHOLD_NS = 10_000_000


class Played:
    """What every scenario needs to know about its beginning."""

    def __init__(self, started_s, took_s, limit_ns, agreed_ns):
        self.started_s, self.took_s, self.limit_ns, self.agreed_ns = started_s, took_s, limit_ns, agreed_ns


def begin(lab, *words, threshold=True, settle_s=SETTLE_S, hold_s=8.0):
    """Boots, throws the clocks off, starts llts everywhere, and waits for agreement."""
    lab.boot()
    for guest, offset_ns in zip(lab.guests, lab.options.offsets_ns):
        lab.throw_off(guest, offset_ns)
    time.sleep(0.3)  # for the sampler, to which these are steps too
    words = list(words)
    if threshold:
        words += ["--step-threshold", f"{STEP_THRESHOLD_NS}ns"]
    started_s = lab.sampler.now_s()
    for n in range(len(lab.guests)):
        lab.start(n, *words)
    took_s = lab.agreed(lab.agreed_now_ns, settle_s)
    limit_ns = lab.agreed_now_ns()
    lab.say(
        f"agreement within {us(limit_ns)}: "
        + ("not reached" if took_s is None else f"{took_s:.1f} s after the last start")
    )
    at = lab.sampler.now_s()
    time.sleep(hold_s)
    spreads = sorted(s.spread_ns() for s in lab.sampler.between(at, 1e9) if s.spread_ns() is not None)
    usual = spreads[int(len(spreads) * 0.95)] if spreads else 0
    agreed_ns = max(limit_ns, min(3 * usual, 3 * limit_ns)) if took_s is not None else limit_ns
    lab.say(f"usual spread before anything is done: {us(usual)} (95 %); 'in agreement' is {us(agreed_ns)}")
    return Played(started_s, took_s, limit_ns, agreed_ns)


def moved(lab, started_s, until_s):
    """How far each clock went, against this machine's counter, in the 20 s in which it may step (or until something was
    done to it), ns. The cluster's own rate is in it, which is worth a millisecond or two.
    """
    first = next((s for s in lab.sampler.samples if s.at_s >= started_s and None not in s.real_ns), None)
    until_s = min(until_s, started_s + 20)
    last = next((s for s in reversed(lab.sampler.between(started_s, until_s)) if None not in s.real_ns), None)
    if first is None or last is None:
        return {n: None for n in range(len(lab.guests))}
    elapsed = (last.counter - first.counter) * 1e6 / lab.counter.khz
    return {n: last.real_ns[n] - first.real_ns[n] - elapsed for n in range(len(lab.guests))}


def common(lab, played, at_s, to_s, victim=None, steps=True, refused=False):
    """What is asked in every scenario; `at_s` is when something was done, to the guest `victim` if to any, which may
    have `refused` to go on.
    """
    found = checks.truth_is_exact(lab)
    found.append(checks.converged(lab, "start.converged", played.took_s, played.limit_ns, SETTLE_S))
    if steps:
        found.append(
            checks.steps_at_start(lab, played.started_s, at_s, STEP_THRESHOLD_NS, moved(lab, played.started_s, at_s))
        )
    found.append(checks.causal(lab))
    # Not while the clocks are still being slewed fast, at the start.
    found.append(checks.edges_hold(lab, played.started_s + 20, at_s))
    found.append(checks.maxerror_holds(lab, played.started_s, victim, at_s))
    found.append(checks.synchronised_at(lab, to_s, victim if refused else None))
    found.append(checks.unsynchronised_at_exit(lab))
    return found


def agreement(lab):
    """Three clocks thrown off in time and rate agree; steps, maxerror, the kernel's flags, the exit."""
    played = begin(lab)
    from_s = lab.sampler.now_s()
    time.sleep(lab.options.seconds)
    to_s = lab.sampler.now_s()
    lab.finish()
    return common(lab, played, to_s, to_s) + [checks.agreement(lab, from_s, to_s), checks.steps_after(lab, from_s)]


def recovered(lab, name, played, within_s=RECOVER_S, timeout_s=40.0):
    """Waits for agreement after something was done; says how long it took."""
    took_s = lab.agreed(lambda: played.agreed_ns, timeout_s)
    return checks.converged(lab, name, took_s, played.agreed_ns, within_s)


def disturbed(lab, name, played, from_s, to_s, others):
    """The clocks that nothing was done to stayed where they were."""
    worst = max(
        (
            abs(s.real_ns[a] - s.real_ns[b])
            for s in lab.sampler.between(from_s, to_s)
            for a in others
            for b in others
            if a < b and None not in (s.real_ns[a], s.real_ns[b])
        ),
        default=None,
    )
    return checks.Check(
        name,
        None if worst is None else worst <= played.agreed_ns,
        f"the others were at most {us(worst)} apart (asked: {us(played.agreed_ns)})",
    )


def kill_llts(lab):
    """llts in one guest is killed (-9) and started again: it re-joins, the others do not notice."""
    played = begin(lab)
    victim = len(lab.guests) - 1
    at_s = lab.sampler.now_s()
    lab.guests[victim].run(f"kill -9 {lab.pids[victim]}")
    time.sleep(5)
    lab.start(victim, "--step-threshold", f"{STEP_THRESHOLD_NS}ns")
    back = recovered(lab, "restart.agreed", played)
    time.sleep(5)
    to_s = lab.sampler.now_s()
    lab.finish()
    return common(lab, played, at_s, to_s, victim) + [
        back,
        disturbed(lab, "restart.others", played, at_s, to_s, range(victim)),
        checks.steps_after(lab, at_s, name="restart.steps"),
    ]


def kill_guest(lab):
    """A guest is killed and booted again with its clock off: it re-joins by one step, the others do not notice."""
    played = begin(lab)
    victim = len(lab.guests) - 1
    guest = lab.guests[victim]
    at_s = lab.sampler.now_s()
    guest.end()
    guest.start()
    lab.await_up(guest)
    lab.check_truth(guest)
    lab.throw_off(guest, 80_000_000)
    time.sleep(0.3)
    again_s = lab.sampler.now_s()
    lab.start(victim, "--step-threshold", f"{STEP_THRESHOLD_NS}ns")
    back = recovered(lab, "reboot.agreed", played, within_s=15.0)
    time.sleep(5)
    to_s = lab.sampler.now_s()
    lab.finish()
    steps = [ns for s, n, ns in lab.sampler.steps if n == victim and s >= again_s]
    return common(lab, played, at_s, to_s, victim, steps=False) + [
        back,
        disturbed(lab, "reboot.others", played, at_s, to_s, range(victim)),
        checks.Check("reboot.steps", len(steps) == 1, f"{len(steps)} steps: {', '.join(map(us, steps))} (asked: one)"),
    ]


def no_step(lab):
    """Nobody may step: the clocks are slewed, and never faster than the limit."""
    words = ["--no-step"] if lab.supports("--no-step") else ["--step-threshold", "1000s"]
    limit_ppm = lab.options.slew_limit_ppm or (5_000 if lab.supports("--slew-limit") else 100_000)
    if lab.supports("--slew-limit"):
        words += ["--slew-limit", f"{limit_ppm:g}ppm"]
    lab.boot()
    for guest, offset_ns in zip(lab.guests, lab.options.offsets_ns):
        lab.throw_off(guest, offset_ns)
    time.sleep(0.3)
    started_s = lab.sampler.now_s()
    for n in range(len(lab.guests)):
        lab.start(n, *words)
    lab.agreed(lab.agreed_now_ns, lab.options.seconds)
    limit_ns = lab.agreed_now_ns()
    to_s = lab.sampler.now_s()
    lab.finish()
    samples = [s for s in lab.sampler.between(started_s, to_s) if s.spread_ns() is not None]
    before, after = samples[0].spread_ns(), samples[-1].spread_ns()
    # Half of what the limit allows has to be used: two clocks that go towards each other may even use twice of it.
    gone = max(limit_ns, before - 0.5 * limit_ppm * 1e3 * (to_s - started_s))
    return checks.truth_is_exact(lab) + [
        checks.steps_after(lab, started_s, name="no-step.none"),
        checks.slew_within(lab, started_s, limit_ppm),
        checks.Check(
            "no-step.closing",
            after <= gone,
            f"spread {us(before)} at first, {us(after)} after " f"{to_s - started_s:.0f} s (asked: at most {us(gone)})",
        ),
        checks.maxerror_holds(lab, started_s),
    ]


# What a line must say to be about others; that llts steps the clock back is not yet it.
OTHERS = r"somebody|someone|by others|interfere|conflict|set the clock"


def adversary(lab, act, words, name, allowed=()):
    """Something in the last guest interferes with its clock: noticed in its log, put right or refused."""
    conflict = ["--on-conflict", lab.options.on_conflict] if lab.supports("--on-conflict") else []
    played = begin(lab, *conflict)
    victim = len(lab.guests) - 1
    logged = len(lab.log(victim))
    at_s = lab.sampler.now_s()
    lab.sampler.mark(f"{name} in {lab.guests[victim].name}")
    act(lab, victim)
    lab.sampler.mark("done")
    time.sleep(0.5)
    back = recovered(lab, f"{name}.recovered", played)
    time.sleep(5)
    to_s = lab.sampler.now_s()
    text = lab.log(victim)[logged:]
    gone = not lab.runs(victim)
    lab.finish()
    if gone:
        # Ending is an answer too where refusing was asked for; the clock must then be called what it is.
        refused = lab.options.on_conflict == "refuse"
        back = checks.Check(f"{name}.recovered", refused, f"llts has ended{', as asked' if refused else ''}")
    return common(lab, played, at_s, to_s, victim, refused=gone) + [
        checks.said_in_log(lab, victim, f"{name}.noticed", text, words),
        back,
        disturbed(lab, f"{name}.others", played, at_s, to_s, range(victim)),
        checks.maxerror_holds(lab, at_s, only=victim, name=f"{name}.maxerror"),
        # What the adversary did may be put right by one step; nothing else is a reason for one.
        checks.steps_after(
            lab,
            at_s,
            [(victim, size, 1_000) for size in allowed] + [(victim, -size, played.agreed_ns) for size in allowed],
            f"{name}.steps",
        ),
    ]


def adversary_step(lab):
    """Somebody steps a guest's clock by 200 ms: noticed, recovered within 5 s."""
    return adversary(
        lab, lambda lab, n: lab.guests[n].run("labguest step 200000000"), OTHERS, "adversary-step", [200_000_000]
    )


def adversary_frequency(lab):
    """Somebody sets a guest's frequency to +100 ppm: noticed, recovered within 5 s."""
    return adversary(lab, lambda lab, n: lab.guests[n].run("labguest freq 100"), OTHERS, "adversary-frequency")


def adversary_chronyd(lab):
    """chronyd runs beside llts in a guest and follows a server that is 50 ms off: named, recovered or refused."""

    def act(lab, n):
        server = lab.guests[0]
        # A server that gives its own clock without touching it, and a client that steers by it.
        server.run(
            "mkdir -p /run/chrony /var/lib/chrony; chmod 770 /run/chrony; printf 'local stratum 8\\nallow all\\n"
            "cmdport 0\\n' > /tmp/server.conf; (setsid chronyd -x -d -u root -f /tmp/server.conf "
            "</dev/null >/tmp/chronyd.log 2>&1 &)"
        )
        lab.guests[n].run(
            "mkdir -p /run/chrony /var/lib/chrony; chmod 770 /run/chrony; printf "
            "'server %s iburst minpoll -2 maxpoll 0 "
            f"offset 0.05\\nmakestep 0.01 -1\\ncmdport 0\\n' {server.ip} > /tmp/client.conf; "
            "(setsid chronyd -d -u root -f /tmp/client.conf </dev/null >/tmp/chronyd.log 2>&1 &)"
        )
        time.sleep(10)
        lab.say(
            f"chronyd in {lab.guests[n].name}: "
            + " | ".join(lab.guests[n].ask("tail -n 4 /tmp/chronyd.log")[1].decode(errors="replace").splitlines())
        )
        if lab.options.on_conflict != "refuse":
            # Beside a program that goes on fighting nobody can recover: named while it runs, recovered once it is gone.
            lab.guests[n].ask("killall chronyd")

    found = adversary(lab, act, "chronyd", "adversary-chronyd")
    return [check for check in found if check.name != "adversary-chronyd.steps"]


def stopped(lab, name, stop, go, words, seconds=10, ignorant=False, within_s=RECOVER_S):
    played = begin(lab)
    victim = len(lab.guests) - 1
    guest = lab.guests[victim]
    logged = len(lab.log(victim))
    at_s = lab.sampler.now_s()
    stop(guest)
    lab.sampler.mark(f"{guest.name} stopped")
    time.sleep(seconds)
    woke_s = lab.sampler.now_s()
    go(guest)
    lab.sampler.mark(f"{guest.name} goes on")
    time.sleep(0.3)
    back = recovered(lab, f"{name}.recovered", played, within_s)
    time.sleep(5)
    to_s = lab.sampler.now_s()
    text = lab.log(victim)[logged:]
    lab.finish()
    # A machine that stood still, all its clocks with it, can learn that only from others: two exchanges with each,
    # which are as late as the busiest were.
    delays = sorted(delay for e in lab.exchanges for delay in (e.forward_ns, e.backward_ns))
    told_s = 2 / lab.options.rate + 2 * delays[int(len(delays) * 0.99)] / 1e9 if delays else 0
    without = (at_s, woke_s + told_s) if ignorant else (0, 0)
    return common(lab, played, at_s, to_s, victim) + [
        checks.said_in_log(lab, victim, f"{name}.noticed", text, words),
        back,
        disturbed(lab, f"{name}.others", played, at_s, to_s, range(victim)),
        checks.maxerror_holds(lab, at_s, only=victim, name=f"{name}.maxerror", without=without),
    ]


def limit(lab):
    """A guest stands still for 10 s where only 5 s may be changed: it says so and ends, the others keep their time."""
    played = begin(lab, "--max-change", "5s")
    victim = len(lab.guests) - 1
    guest = lab.guests[victim]
    at_s = lab.sampler.now_s()
    guest.suspend()
    time.sleep(10)
    guest.wake()
    lab.sampler.mark(f"{guest.name} goes on")
    deadline = time.monotonic() + 15
    while lab.runs(victim) and time.monotonic() < deadline:
        time.sleep(0.2)
    gone = not lab.runs(victim)
    time.sleep(3)
    to_s = lab.sampler.now_s()
    text = lab.log(victim)
    samples = lab.sampler.between(at_s, to_s)
    elapsed_ns = (samples[-1].counter - samples[0].counter) * 1e6 / lab.counter.khz
    gained = [samples[-1].real_ns[n] - samples[0].real_ns[n] - elapsed_ns for n in range(victim)]
    lab.finish()
    # Their oscillators' rates and what the two of them make of these; nothing of the ten seconds.
    most_ns = 100e-6 * elapsed_ns
    return common(lab, played, at_s, at_s) + [
        checks.Check("limit.refused", gone, f"llts in {guest.name} {'has ended' if gone else 'runs on'} (asked: ended)"),
        checks.said_in_log(lab, victim, "limit.said", text, r"would have to change by \+?-?(9|10)\.\d+ s and --max-change"),
        checks.Check(
            "limit.kept",
            all(abs(ns) <= most_ns for ns in gained),
            f"the others' clocks gained {', '.join(map(us, gained))} in {elapsed_ns / 1e9:.0f} s (asked: at most "
            f"{us(most_ns)})",
        ),
        checks.steps_after(lab, at_s, name="limit.steps"),
    ]


def killed_in_haste(lab):
    """llts is killed (-9) while it slews at up to 10 %: `llts release-clock` takes that back, and a restart agrees."""
    lab.boot()
    victim = len(lab.guests) - 1
    guest = lab.guests[victim]
    for other in lab.guests:
        lab.throw_off(other, 90_000_000 if other is guest else 0)
    time.sleep(0.3)
    for n in range(len(lab.guests)):
        lab.start(n)
    waited = guest.run(
        f"for k in $(seq 2000); do labguest show | grep -q '\"tick_us\":10000,' || "
        f"{{ kill -9 {lab.pids[victim]}; echo killed; break; }}; usleep 5000; done",
        60,
    )
    time.sleep(0.5)
    left = json.loads(guest.run("labguest show"))
    said = guest.run("llts release-clock").strip()
    now = json.loads(guest.run("labguest show"))
    again = guest.run("llts release-clock").strip()
    lab.say(f"{guest.name}: {said}")
    lab.start(victim)
    took_s = lab.agreed(lab.agreed_now_ns, SETTLE_S)
    held = guest.run("llts release-clock").strip()
    limit_ns = lab.agreed_now_ns()
    lab.finish()
    return checks.truth_is_exact(lab) + [
        checks.Check("haste.killed", "killed" in waited and left["tick_us"] != 10_000, f"left at tick {left['tick_us']}"),
        checks.Check(
            "haste.released",
            now["tick_us"] == 10_000 and abs(now["freq"]) <= 500 << 16 and now["status"] & 0x40 != 0,
            f"tick {now['tick_us']}, frequency {now['freq'] / 65536:+.3f} ppm, status {now['status']:#x} (asked: 10000, "
            "unsynchronised)",
        ),
        checks.Check("haste.once", "let be" in again and "let be" in held, f"{again}; while llts runs: {held}"),
        checks.converged(lab, "haste.agreed", took_s, limit_ns, SETTLE_S),
    ]


def former(lab):
    """Daemons before llts have left the kernel an offset to slew: it is taken back, and nobody is blamed for it."""
    lab.boot()
    for guest, offset_ns in zip(lab.guests, lab.options.offsets_ns):
        lab.throw_off(guest, offset_ns)
    lab.guests[0].run("labguest pll 400000000")
    lab.guests[-1].run("labguest adjtime -400000000")
    time.sleep(0.3)
    started_s = lab.sampler.now_s()
    for n in range(len(lab.guests)):
        lab.start(n, "--step-threshold", f"{STEP_THRESHOLD_NS}ns")
    took_s = lab.agreed(lab.agreed_now_ns, SETTLE_S)
    limit_ns = lab.agreed_now_ns()
    from_s = lab.sampler.now_s()
    time.sleep(lab.options.seconds)
    to_s = lab.sampler.now_s()
    texts = [lab.log(n) for n in range(len(lab.guests))]
    lab.finish()
    blamed = [line for text in texts for line in text.splitlines() if "somebody else" in line]
    return checks.truth_is_exact(lab) + [
        checks.converged(lab, "start.converged", took_s, limit_ns, SETTLE_S),
        checks.agreement(lab, from_s, to_s),
        checks.maxerror_holds(lab, started_s),
        checks.Check("former.nobody-blamed", not blamed, blamed[0] if blamed else "no log names anybody"),
    ]


def drift(lab):
    """llts ends and starts with a drift file and nothing else: the kernel's frequency is right with the first call."""
    played = begin(lab)
    victim = len(lab.guests) - 1
    guest = lab.guests[victim]
    kept = guest.run("for k in $(seq 120); do [ -e /var/lib/llts/drift ] && break; sleep 1; done; cat /var/lib/llts/drift", 150)
    at_s = lab.sampler.now_s()
    guest.run(f"kill -TERM {lab.pids[victim]}; for k in $(seq 50); do [ -e /proc/{lab.pids[victim]}/exe ] || break; usleep 100000; done")
    before = json.loads(guest.run("labguest show"))["freq"] / 65_536
    kept = guest.run("cat /var/lib/llts/drift").split()
    guest.run("rm -f /run/llts/mapping-*; labguest freq 0")
    lab.start(victim, "--step-threshold", f"{STEP_THRESHOLD_NS}ns")
    first = guest.run(
        "for k in $(seq 1000); do labguest show > /tmp/first; grep -q '\"freq\":0,' /tmp/first || break; usleep 2000; done; "
        "cat /tmp/first",
        60,
    )
    first = json.loads(first)["freq"] / 65_536
    back = recovered(lab, "drift.agreed", played)
    to_s = lab.sampler.now_s()
    text = lab.log(victim)
    lab.finish()
    return common(lab, played, at_s, to_s, victim) + [
        checks.Check(
            "drift.kept",
            len(kept) == 2 and abs(float(kept[0]) + before) < 1.0 and 0 < float(kept[1]) <= 100,
            f"{' '.join(kept)} ppm beside the kernel's {before:+.3f} ppm (asked: its negative, within 1 ppm, and its error)",
        ),
        checks.Check(
            "drift.first",
            abs(first - before) < 1.0,
            f"the first command of the new run is {first:+.3f} ppm, the last of the old {before:+.3f} (asked: within 1)",
        ),
        checks.said_in_log(lab, victim, "drift.said", text, "the oscillator gains"),
        back,
    ]


PAUSE_WORDS = r"pause|suspend|stood still|stopped|asleep|slept|held up|stall|missed|migrat"


def pause(lab):
    """SIGSTOP to a guest's QEMU for 10 s: its clock runs on, it does not; noticed, no small bound while wrong, back in
    5 s.
    """
    return stopped(lab, "pause", machine.Guest.pause, machine.Guest.resume, PAUSE_WORDS)


def suspend(lab):
    """A guest's machine stands still for 10 s as in a migration: all its clocks are 10 s late; noticed, back in 2 s."""
    words = PAUSE_WORDS + "|jump|anew"
    return stopped(lab, "suspend", machine.Guest.suspend, machine.Guest.wake, words, ignorant=True, within_s=2.0)


def stamps(lab):
    """Which stamps the NIC gives (for --nic igb): classes per peer, PHCs, `llts doctor` if there is one."""
    words = ["--iface", "eth0"] if lab.supports("--iface") else []
    words += ["--timestamps", "auto"] if lab.supports("--timestamps") else []
    played = begin(lab, *words)
    lab.say("PHCs of n0: " + lab.guests[0].run("cat /sys/class/ptp/*/clock_name 2>/dev/null || echo none").strip())
    time.sleep(lab.options.seconds)
    to_s = lab.sampler.now_s()
    stamping = {guest.name: driver_setting(guest) for guest in lab.guests}
    lab.finish()
    found = common(lab, played, to_s, to_s)
    found += igb(lab, stamping) if lab.options.nic == "igb" else []
    # Once no node runs in this guest: a card that is changed and put back is seen to be.
    peer = f"{lab.guests[1].ip}:{laboratory.PORT}"
    code, text = lab.guests[0].ask(f"llts doctor --iface eth0 --peer {peer} --json", 120)
    doctor = text.decode(errors="replace").strip()
    lab.say(f"llts doctor --iface eth0 --peer {peer} --json in n0 (exit {code}): {doctor[:6000]}")
    found.append(doctor_verifies(lab, code, doctor))
    for n, status in lab.status.items():
        for peer in (status or {}).get("peers", []):
            sent, came = peer.get("tx_stamp"), peer.get("rx_stamp")
            # igb under QEMU stamps what is sent, and never what is received: there a packet has the kernel's stamp.
            asked = ("nic", "kernel") if lab.options.nic == "igb" else ("kernel", "kernel")
            found.append(
                checks.Check(
                    f"stamps.{lab.guests[n].name}-{peer['name']}",
                    (sent, came) == asked,
                    f"sent {sent}, received {came} (asked: sent {asked[0]}, received {asked[1]})",
                )
            )
    return found


def driver_setting(guest):
    """How the driver of the guest's NIC is set to stamp: tx_type and rx_filter."""
    return guest.ask("labguest stamping eth0")[1].decode(errors="replace").strip()


# As linux/net_tstamp.h numbers them: what igb under QEMU grants, and what it has before anybody asks.
STAMPS_ON, STAMPS_OFF = "1 12", "0 0"


def igb(lab, stamping):
    """What an igb that stamps has to show: the driver's settings while llts runs and after, and the card's clock as
    `llts status` has it.
    """
    found = []
    for guest in lab.guests:
        on, off = stamping[guest.name], driver_setting(guest)
        found.append(
            checks.Check(
                f"stamps.driver-{guest.name}",
                (on, off) == (STAMPS_ON, STAMPS_OFF),
                f"tx_type and rx_filter were {on} while llts ran and are {off} after it "
                f"(asked: {STAMPS_ON}, transmit on and PTP v2 events, then {STAMPS_OFF})",
            )
        )
        cards = (lab.status[guest.number] or {}).get("cards", [])
        known = [card for card in cards if card.get("sigma_ns") is not None]
        found.append(
            checks.Check(
                f"stamps.clock-{guest.name}",
                len(known) == 1,
                f"status shows {json.dumps(cards)} (asked: one card, its clock known)",
            )
        )
    return found


def doctor_verifies(lab, code, text):
    """`llts doctor --peer` has sent real packets and seen their stamps; the card is as it was before."""
    try:
        topics = {finding["topic"]: finding for finding in json.loads(text)["findings"]}
    except (ValueError, KeyError):
        return checks.Check("stamps.doctor", False, f"llts doctor exits {code} and its words are no document")
    verified = topics.get("verified", {})
    after = driver_setting(lab.guests[0])
    wanted = code in (0, 1) and (lab.options.nic != "igb" or (verified.get("level") == "good" and after == STAMPS_OFF))
    return checks.Check(
        "stamps.doctor",
        wanted,
        f"llts doctor exits {code}, verified is {verified.get('level')}: {verified.get('says')}; the driver is set to "
        f"{after} after it (asked: exit 0 or 1; with igb verified good and {STAMPS_OFF})",
    )


DAY_NS = 86_400_000_000_000
LEAP_AFTER_S = 40


def leap(lab):
    """A reference whose kernel knows of a leap second: all take it at midnight, and nothing else happens."""
    word, leap_ns = "insert", -1_000_000_000
    lab.boot()
    # The next last day of a December: on an ordinary day nobody follows.
    year = time.gmtime().tm_year + 1
    to_midnight_ns = (calendar.timegm((year, 1, 1, 0, 0, 0)) - LEAP_AFTER_S) * 1_000_000_000 - time.time_ns()
    for guest, offset_ns in zip(lab.guests, lab.options.offsets_ns):
        lab.throw_off(guest, offset_ns + to_midnight_ns)
    lab.guests[0].run(f"labguest leap {word}")
    time.sleep(0.3)
    started_s = lab.sampler.now_s()
    lab.start(0, "--role", "reference")
    for n in range(1, len(lab.guests)):
        lab.start(n, "--step-threshold", f"{STEP_THRESHOLD_NS}ns")
    took_s = lab.agreed(lab.agreed_now_ns, LEAP_AFTER_S - 10)
    limit_ns = lab.agreed_now_ns()
    shown = json.loads(lab.guests[0].run("labguest show"))
    midnight_s = lab.sampler.now_s() + (DAY_NS - shown["real_ns"] % DAY_NS) / 1e9
    at_s = midnight_s - 2
    lab.say(f"midnight is in {midnight_s - lab.sampler.now_s():.1f} s")
    # Not at once: a kernel that was stepped at the start is told anew two seconds later.
    while lab.sampler.now_s() < midnight_s - 5:
        time.sleep(0.2)
    before = {guest.name: json.loads(guest.run("labguest show")) for guest in lab.guests}
    while lab.sampler.now_s() < midnight_s + 12:
        time.sleep(0.2)
    to_s = lab.sampler.now_s()
    after = {guest.name: json.loads(guest.run("labguest show")) for guest in lab.guests}
    lab.finish()
    return (
        checks.truth_is_exact(lab)
        + [
            checks.converged(lab, "leap.agreed", took_s, limit_ns, LEAP_AFTER_S),
            checks.steps_after(lab, at_s, [(n, leap_ns, 0) for n in range(len(lab.guests))], "leap.steps"),
            checks.leap_taken(lab, before, after, 0x10),
            checks.together_but_for_seconds(lab, at_s, to_s, limit_ns, midnight_s + 1),
            checks.maxerror_holds(lab, started_s, without=(midnight_s - 0.5, midnight_s + 0.5)),
            checks.synchronised_at(lab, to_s, 0),
        ]
        + [
            checks.said_in_log(lab, n, f"leap.said-n{n}", lab.logs[n], "has taken a leap second")
            for n in range(len(lab.guests))
        ]
        + [checks.said_in_log(lab, 1, "leap.announced", lab.logs[1], "references announce")]
    )


SCENARIOS = {
    "agreement": agreement,
    "kill-llts": kill_llts,
    "kill-guest": kill_guest,
    "no-step": no_step,
    "adversary-step": adversary_step,
    "adversary-frequency": adversary_frequency,
    "adversary-chronyd": adversary_chronyd,
    "pause": pause,
    "suspend": suspend,
    "limit": limit,
    "killed-in-haste": killed_in_haste,
    "former": former,
    "drift": drift,
    "stamps": stamps,
    "leap": leap,
}
