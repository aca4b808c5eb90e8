"""Records what the Python package gymnasium does, for the tests of envs/src/control.

    pip install gymnasium==1.4.0 numpy==2.4.6
    python generate.py            # writes classic.json and tables.json beside itself

classic.json: for CartPole-v1, Acrobot-v1 and MountainCar-v0 a few episodes with fixed actions. `states` are the exact
float64 states before each step and after the last, `obs` the float32 observations of the same moments.
tables.json: for the finite environments every transition, the start distribution, Taxi's action masks, and walks in
which the uniform number behind every transition is known.
"""

import json
import math
from pathlib import Path

import gymnasium as gym
import numpy as np

HERE = Path(__file__).parent


def numbers(array):
    """float32 as the shortest decimal that reads back to the same float32, float64 likewise."""
    array = np.asarray(array)
    return [float(np.format_float_positional(x, unique=True)) if array.dtype == np.float32 else float(x) for x in array]


def episode(env_id, seed, policy, limit):
    env = gym.make(env_id)
    obs, _ = env.reset(seed=seed)
    raw = env.unwrapped
    rng = np.random.default_rng(seed)
    record = {"actions": "", "states": [numbers(np.asarray(raw.state, dtype=np.float64))], "obs": [numbers(obs)],
              "rewards": [], "end": "running"}
    for _ in range(limit):
        action = int(policy(np.asarray(raw.state, dtype=np.float64), rng))
        obs, reward, terminated, truncated, _ = env.step(action)
        record["actions"] += str(action)
        record["states"].append(numbers(np.asarray(raw.state, dtype=np.float64)))
        record["obs"].append(numbers(obs))
        record["rewards"].append(reward)
        if terminated or truncated:
            record["end"] = "terminated" if terminated else "truncated"
            break
    return record


def uniform(n):
    return lambda state, rng: rng.integers(n)


def balance(state, rng):
    x, x_dot, theta, theta_dot = state
    return theta + 0.5 * theta_dot + 0.02 * x + 0.05 * x_dot > 0


def lean(state, rng):
    """Keeps the pole up and runs out of the track."""
    return state[2] + 0.5 * state[3] - 0.1 > 0


def swing(state, rng):
    """Torque along the velocity of the second joint pumps energy."""
    return 2 if state[3] > 0 else 0


def rock(state, rng):
    """Pushes along the velocity."""
    return 2 if state[1] >= 0 else 0


CLASSIC = {
    "CartPole-v1": [(1, uniform(2), 500), (2, balance, 500), (3, lean, 500), (4, lambda s, r: 1, 500)],
    "Acrobot-v1": [(1, uniform(3), 60), (2, swing, 500)],
    "MountainCar-v0": [(1, rock, 200), (2, lambda s, r: 0, 200)],
}


def thinned(record, most=120):
    """A long episode keeps its beginning and its end; `skipped` says how many moments lie between."""
    steps = len(record["actions"])
    if steps <= most:
        return {**record, "skipped": 0}
    half = most // 2
    keep = lambda rows: rows[:half + 1] + rows[-half - 1:]
    return {**record, "states": keep(record["states"]), "obs": keep(record["obs"]), "skipped": steps - 2 * half - 1}


TABLES = {
    "FrozenLake-v1": {}, "FrozenLake-v1 not slippery": {"is_slippery": False},
    "FrozenLake8x8-v1": {}, "FrozenLake8x8-v1 not slippery": {"is_slippery": False},
    "CliffWalking-v1": {}, "CliffWalkingSlippery-v1": {}, "Taxi-v3": {},
}
# Taxi-v4 of gymnasium 1.4 mends the rainy and fickle options; without them it is Taxi-v3.
REGISTERED = {"Taxi-v3": "Taxi-v4"}


class Recorder:
    """A numpy generator whose uniform numbers are kept."""

    def __init__(self, seed):
        self.rng = np.random.default_rng(seed)
        self.drawn = []

    def random(self):
        self.drawn.append(float(self.rng.random()))
        return self.drawn[-1]


def table(name, kwargs):
    env_id = name.split()[0]
    env = gym.make(REGISTERED.get(env_id, env_id), **kwargs)
    raw = env.unwrapped
    n, actions = raw.observation_space.n, raw.action_space.n
    flat = [[[[float(p), int(s), float(r), int(t)] for p, s, r, t in raw.P[state][a]] for a in range(actions)]
            for state in range(n)]
    out = {"time_limit": env.spec.max_episode_steps, "start": [float(x) for x in raw.initial_state_distrib],
           "outcomes": flat, "walk": walk(env, actions)}
    if name.startswith("Taxi"):
        out["masks"] = ["".join(str(int(b)) for b in raw.action_mask(state)) for state in range(n)]
    return out


def walk(env, actions, steps=150):
    raw = env.unwrapped
    env.reset(seed=5)
    raw._np_random = recorder = Recorder(7)
    choice = np.random.default_rng(11)
    rows, state = [], int(raw.s)
    for _ in range(steps):
        action = int(choice.integers(actions))
        next_state, reward, terminated, _, _ = raw.step(action)
        rows.append([state, action, recorder.drawn[-1], int(next_state), float(reward), int(terminated)])
        state = int(next_state)
        if terminated:
            raw._np_random = None
            env.reset(seed=len(rows))
            raw._np_random = recorder
            state = int(raw.s)
    return rows


def write(name, value):
    text = json.dumps(value, separators=(",", ":"))
    (HERE / name).write_text(text.replace('"CartPole', '\n"CartPole').replace('},"', '},\n"') + "\n")


if __name__ == "__main__":
    classic = {env: [thinned(episode(env, *args)) for args in episodes] for env, episodes in CLASSIC.items()}
    write("classic.json", {"gymnasium": gym.__version__, "numpy": np.__version__, "episodes": classic})
    write("tables.json", {"gymnasium": gym.__version__, "tables": {k: table(k, v) for k, v in TABLES.items()}})
    for env, episodes in classic.items():
        print(env, [(len(e["actions"]), e["end"], e["skipped"]) for e in episodes])
