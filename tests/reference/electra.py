"""ELECTRA's schedule, masking and replacement in plain Python, to be read against the original's files."""


def learning_rate(step, peak, steps, warmup_steps):
    """model/optimization.py, create_optimizer: the decayed rate, times the warm-up's share up to 1."""
    return peak * (1 - step / steps) * min(1, step / warmup_steps)


def mask_row(tokens, candidates, count, places, coins, mask_token, mask_share):
    """pretrain_helpers.py, mask: one row; returns what is shown and the positions drawn, in that order.

    places, coins: one uniform number per draw. A draw says [MASK] or nothing: another one's [MASK] stays.
    """
    shown, drawn = list(tokens), []
    for place, coin in list(zip(places, coins))[:count]:
        drawn.append(candidates[int(place * len(candidates))])
        if coin < mask_share:
            shown[drawn[-1]] = mask_token
    return shown, drawn


def scatter_update(tokens, positions, updates):
    """pretrain_helpers.py, scatter_update: one row. Position 0 is never written, and a position drawn more
    than once gets the sum of its updates divided by their number, rounded down."""
    new = list(tokens)
    for position in set(positions) - {0}:
        values = [update for where, update in zip(positions, updates) if where == position]
        new[position] = sum(values) // len(values)
    return new
