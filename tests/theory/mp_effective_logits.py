"""Effective logits in arbitrary precision: slow, plain, and independent of the solvers under
test."""

from mpmath import mp, mpf


def _sigmoid(x):
    return 1 / (1 + mp.exp(-x))


def binary(z_t, y, rho, t, t_power):
    """Bisect (2.1) as written, on the side of the sigmoid that does not cancel."""
    with mp.workdps(60):
        sign = 1 if y == 1 else -1
        teacher, rho, t = sign * mpf(z_t), mpf(rho), mpf(t)
        if rho == 1:
            return sign * teacher
        soft = rho * t ** (t_power - 1)

        def gradient(z):
            if teacher > 0:
                return soft * (_sigmoid(-teacher / t) - _sigmoid(-z / t)) - (1 - rho) * _sigmoid(-z)
            return soft * (_sigmoid(z / t) - _sigmoid(teacher / t)) - (1 - rho) * _sigmoid(-z)

        low, width = teacher, mpf(1)
        while gradient(teacher + width) < 0:
            width *= 2
        high = teacher + width
        for _ in range(180):
            middle = (low + high) / 2
            if gradient(middle) < 0:
                low = middle
            else:
                high = middle
        return sign * (low + high) / 2


def softmax(z_t, y, rho, t, t_power):
    """Newton's method on (2.2) in log form, rows first, then their normaliser; then (2.2) itself is
    checked."""
    with mp.workdps(50):
        z_t, rho, t = [mpf(v) for v in z_t], mpf(rho), mpf(t)
        classes = range(len(z_t))
        soft, hard = rho * t ** (t_power - 1), 1 - rho
        total = sum(mp.exp(v / t) for v in z_t)
        m = [mp.log(soft * mp.exp(z_t[c] / t) / total + (hard if c == y else 0)) for c in classes]

        def rows(b, start):
            solved = []
            for c in classes:
                u = start[c]
                for _ in range(200):
                    left, right = soft * mp.exp(u), hard * mp.exp(t * u - b)
                    step = (mp.log(left + right) - m[c]) * (left + right) / (left + t * right)
                    u -= step
                    if abs(step) < mpf(10) ** -40 * (1 + abs(u)):
                        break
                solved.append(u)
            return solved

        low, high = -t * mp.log(len(z_t)) - 1, mp.log(len(z_t)) + 1
        b, log_p = mpf(0), [v - mp.log(soft) for v in m]
        for _ in range(400):
            log_p = rows(b, log_p)
            closure = mp.log(sum(mp.exp(u) for u in log_p))
            low, high = (b, high) if closure < 0 else (low, b)
            slope = mpf(0)
            for u in log_p:
                left, right = soft * mp.exp(u), hard * mp.exp(t * u - b)
                slope += mp.exp(u) * right / (left + t * right)
            new = b - closure / slope
            new = new if low < new < high else (low + high) / 2
            if abs(new - b) < mpf(10) ** -32 * (1 + abs(b)):
                break
            b = new
        z = [t * u for u in log_p]
        mean = sum(z) / len(z)
        z = [v - mean for v in z]
        _check(z, z_t, y, soft, hard, t)
        return z


def _check(z, z_t, y, soft, hard, t):
    """(2.2) row by row; a row's terms are compared with their own size, as some are 1e-900."""
    classes = range(len(z))
    with mp.workdps(60):
        p_sum, q_sum, r_sum = (
            sum(mp.exp(v) for v in vs) for vs in ([v / t for v in z], [v / t for v in z_t], z)
        )
        for c in classes:
            p, q, r = mp.exp(z[c] / t) / p_sum, mp.exp(z_t[c] / t) / q_sum, mp.exp(z[c]) / r_sum
            wanted = soft * q + (hard if c == y else 0)
            assert abs(soft * p + hard * r - wanted) <= mpf(10) ** -25 * wanted
