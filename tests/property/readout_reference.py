"""A readout in plain numpy, written from the published equations: the twin of the compiled kernels."""

import numpy as np

F = np.float32


def forward(weights, index, times, thresholds, tau, max_time, compat):
    """Spike times and membranes of one sample, event by event, all neurons at once."""
    count = len(weights)
    membranes, alive = np.zeros(count, F), np.ones(count, bool)
    spikes = np.full(count, max_time, F)
    leaking = tau if len(tau) else np.zeros(count, F)

    def leak(gap):
        factor = np.exp(F(-gap) / np.where(leaking > 0, leaking, F(1)), dtype=F)
        membranes[:] = np.where(alive & (leaking > 0), membranes * factor, membranes)

    def test(now):
        fires = alive & (membranes > thresholds)
        spikes[fires] = now
        alive[fires] = False

    ended = False
    current = times[0] if len(times) else F(0)
    for event, (i, time) in enumerate(zip(index, times, strict=True)):
        if time != current or (compat and event == len(times) - 1):
            if compat:
                leak(time - current)
                test(current)
            else:
                test(current)
                leak(time - current)
            current = time
        if time >= max_time:
            ended = True
            break
        membranes = np.where(alive, membranes + weights[:, i], membranes)
    if not compat and not ended and len(times):
        test(current)
    return spikes, membranes


def rank(spikes, membranes):
    """Neurons in the order in which they would decide."""
    return sorted(range(len(spikes)), key=lambda n: (spikes[n], -membranes[n], n))


def class_winners(spikes, membranes, per_class):
    """The first neuron of each class."""
    groups = range(0, len(spikes), per_class)
    return [
        start + rank(spikes[start : start + per_class], membranes[start : start + per_class])[0]
        for start in groups
    ]


def s2stdp_errors(spikes, members, label, per_class, non_target, max_time, t_gap, ranges):
    """Errors of S2-STDP (points) or SSTDP (ranges), float32 (N,)."""
    total = len(members)
    targets = total * per_class // len(spikes)
    fired = [spikes[n] for n in sorted(members) if spikes[n] < max_time]
    base = max_time - t_gap * targets / total
    if fired:
        mean = F(0)
        for time in fired:
            mean = F(mean + time)
        base = min(float(F(mean / F(len(fired)))), base)
    errors = np.zeros(len(spikes), F)
    for n in members:
        target = label * per_class + non_target <= n < (label + 1) * per_class
        desired = base - t_gap * (total - targets) / total if target else base + t_gap * targets / total
        if ranges:
            desired = min(spikes[n], desired) if target else max(spikes[n], desired)
        errors[n] = (float(spikes[n]) - desired) / max_time
    return errors


def stdp(row, dense, spike, gains, form):
    """One row after its STDP; `dense`: input times, max_time = silent; `form(w, potentiating)` scales."""
    causal = dense <= spike
    wide = row.astype(np.float64)
    changed = np.where(causal, wide + gains[0] * form(wide, True), wide + gains[1] * form(wide, False))
    return changed.astype(F)


def settle(row, low, high, total):
    """Clip a row, then scale it to its sum."""
    row = np.clip(row, F(low), F(high))
    if total is None or np.abs(row).sum() == 0:
        return row
    return row * F(total / np.abs(row).sum())
