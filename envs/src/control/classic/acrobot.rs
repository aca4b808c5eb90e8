//! Acrobot-v1.

use super::Physics;
use super::env::between;
use retune::rng::StreamRng;
use std::f64::consts::PI;

/// Seconds per step.
const DT: f64 = 0.2;
/// m, of the first link; the second has no influence on the equations.
const LENGTH_1: f64 = 1.0;
/// m, from the joint to the centre of mass of a link.
const CENTRE_1: f64 = 0.5;
const CENTRE_2: f64 = 0.5;
/// kg.
const MASS_1: f64 = 1.0;
const MASS_2: f64 = 1.0;
/// kg m², of each link.
const INERTIA: f64 = 1.0;
/// m/s².
const GRAVITY: f64 = 9.8;
/// rad/s.
const MAX_VELOCITY_1: f64 = 4.0 * PI;
const MAX_VELOCITY_2: f64 = 9.0 * PI;

/// Two links that hang from a joint, with a motor between them (Sutton, 1996), to the equations of Acrobot-v1 in
/// Gymnasium 1.4, those of the book: one fourth-order Runge–Kutta step of 0.2 s in `f64`, observations rounded to `f32`.
///
/// The state is the angle of the first link from hanging down, that of the second relative to the first, and their
/// velocities (rad, rad/s).
///
/// | index | observation | range |
/// |---|---|---|
/// | 0, 1 | cosine and sine of the first angle | −1 to 1 |
/// | 2, 3 | cosine and sine of the second | −1 to 1 |
/// | 4 | first velocity, rad/s | ±4π |
/// | 5 | second velocity, rad/s | ±9π |
///
/// Actions 0, 1, 2 apply a torque of −1, 0, 1 N m. A step costs 1, but the one that reaches the goal nothing. All four
/// numbers begin uniformly in ±0.1, rounded to `f32`. The episode terminates when the tip is more than 1 m above the
/// upper joint, and is truncated after 500 steps.
#[derive(Clone, Debug)]
pub struct AcrobotPhysics;

impl Physics for AcrobotPhysics {
    type State = [f64; 4];
    type Obs = [f32; 6];

    const ID: &str = "control/acrobot";
    const DESCRIPTION: &str = "Swing the tip of two linked rods above a line.";
    const NUM_ACTIONS: u32 = 3;
    const TIME_LIMIT: u64 = 500;
    const REWARD_RANGE: (f64, f64) = (-1.0, 0.0);

    fn bounds() -> (Vec<f32>, Vec<f32>) {
        let high = vec![1.0, 1.0, 1.0, 1.0, MAX_VELOCITY_1 as f32, MAX_VELOCITY_2 as f32];
        (high.iter().map(|x| -x).collect(), high)
    }

    fn start(rng: &mut StreamRng) -> [f64; 4] {
        std::array::from_fn(|_| f64::from(between(rng, -0.1, 0.1) as f32))
    }

    #[inline]
    fn advance(state: &mut [f64; 4], action: u32) -> (f64, bool) {
        let [angle_1, angle_2, velocity_1, velocity_2] = runge_kutta(state, f64::from(action) - 1.0);
        *state = [
            wrap(angle_1),
            wrap(angle_2),
            velocity_1.clamp(-MAX_VELOCITY_1, MAX_VELOCITY_1),
            velocity_2.clamp(-MAX_VELOCITY_2, MAX_VELOCITY_2),
        ];
        let over = -state[0].cos() - (state[1] + state[0]).cos() > 1.0;
        (if over { 0.0 } else { -1.0 }, over)
    }

    #[inline]
    fn observe(state: &[f64; 4]) -> [f32; 6] {
        let ((sin_1, cos_1), (sin_2, cos_2)) = (state[0].sin_cos(), state[1].sin_cos());
        [cos_1, sin_1, cos_2, sin_2, state[2], state[3]].map(|x| x as f32)
    }
}

fn runge_kutta(state: &[f64; 4], torque: f64) -> [f64; 4] {
    let along = |slope: &[f64; 4], time: f64| std::array::from_fn(|i| state[i] + time * slope[i]);
    let k1 = derivative(state, torque);
    let k2 = derivative(&along(&k1, DT / 2.0), torque);
    let k3 = derivative(&along(&k2, DT / 2.0), torque);
    let k4 = derivative(&along(&k3, DT), torque);
    std::array::from_fn(|i| state[i] + DT / 6.0 * (k1[i] + 2.0 * k2[i] + 2.0 * k3[i] + k4[i]))
}

/// Velocities and accelerations. Sutton (1996) with the terms that the book adds.
fn derivative(&[angle_1, angle_2, velocity_1, velocity_2]: &[f64; 4], torque: f64) -> [f64; 4] {
    let (sin_2, cos_2) = angle_2.sin_cos();
    let coupling = MASS_2 * LENGTH_1 * CENTRE_2;
    let d1 = MASS_1 * (CENTRE_1 * CENTRE_1)
        + MASS_2 * (LENGTH_1 * LENGTH_1 + CENTRE_2 * CENTRE_2 + 2.0 * LENGTH_1 * CENTRE_2 * cos_2)
        + INERTIA
        + INERTIA;
    let d2 = MASS_2 * (CENTRE_2 * CENTRE_2 + LENGTH_1 * CENTRE_2 * cos_2) + INERTIA;
    let phi_2 = MASS_2 * CENTRE_2 * GRAVITY * (angle_1 + angle_2 - PI / 2.0).cos();
    let phi_1 = -coupling * (velocity_2 * velocity_2) * sin_2 - 2.0 * coupling * velocity_2 * velocity_1 * sin_2
        + (MASS_1 * CENTRE_1 + MASS_2 * LENGTH_1) * GRAVITY * (angle_1 - PI / 2.0).cos()
        + phi_2;
    let acceleration_2 = (torque + d2 / d1 * phi_1 - coupling * (velocity_1 * velocity_1) * sin_2 - phi_2)
        / (MASS_2 * (CENTRE_2 * CENTRE_2) + INERTIA - d2 * d2 / d1);
    let acceleration_1 = -(d2 * acceleration_2 + phi_1) / d1;
    [velocity_1, velocity_2, acceleration_1, acceleration_2]
}

/// The same angle in −π to π, by whole turns one at a time as Gymnasium does. An angle moves by a few turns at most in a
/// step; only a state that was put in from outside can be farther away.
fn wrap(mut angle: f64) -> f64 {
    if angle.abs() > 100.0 * PI {
        angle %= 2.0 * PI;
    }
    while angle > PI {
        angle -= 2.0 * PI;
    }
    while angle < -PI {
        angle += 2.0 * PI;
    }
    angle
}
