//! CartPole-v1.

use super::Physics;
use super::env::between;
use retune::rng::StreamRng;

/// m/s².
const GRAVITY: f64 = 9.8;
/// kg.
const POLE_MASS: f64 = 0.1;
/// kg, cart and pole.
const TOTAL_MASS: f64 = POLE_MASS + 1.0;
/// m, half of the pole.
const LENGTH: f64 = 0.5;
/// kg m.
const POLE_MASS_LENGTH: f64 = POLE_MASS * LENGTH;
/// N.
const FORCE: f64 = 10.0;
/// Seconds per step.
const TAU: f64 = 0.02;
/// m.
const X_LIMIT: f64 = 2.4;
/// rad, 12 degrees.
const THETA_LIMIT: f64 = 12.0 * 2.0 * std::f64::consts::PI / 360.0;

/// A pole on a cart (Barto, Sutton and Anderson, 1983), to the equations of CartPole-v1 in Gymnasium 1.4: the frictionless
/// form of Florian (2007), explicit Euler steps of 0.02 s in `f64`, observations rounded to `f32`.
///
/// | index | observation | unit | range |
/// |---|---|---|---|
/// | 0 | position of the cart | m | −4.8 to 4.8 |
/// | 1 | its velocity | m/s | any |
/// | 2 | angle of the pole from upright | rad | −0.419 to 0.419 |
/// | 3 | its velocity | rad/s | any |
///
/// Action 0 pushes to the left, 1 to the right, with 10 N. Every step pays 1, the last one too. All four numbers begin
/// uniformly in ±0.05. The episode terminates when the cart is more than 2.4 m from the middle or the pole more than 12
/// degrees from upright, and is truncated after 500 steps.
#[derive(Clone, Debug)]
pub struct CartPolePhysics;

impl Physics for CartPolePhysics {
    type State = [f64; 4];
    type Obs = [f32; 4];

    const ID: &str = "control/cartpole";
    const DESCRIPTION: &str = "Keep a pole upright on a cart by pushing it left or right.";
    const NUM_ACTIONS: u32 = 2;
    const TIME_LIMIT: u64 = 500;
    const REWARD_RANGE: (f64, f64) = (1.0, 1.0);

    fn bounds() -> (Vec<f32>, Vec<f32>) {
        // Twice the limits, so that the final observation is within.
        let high = vec![(2.0 * X_LIMIT) as f32, f32::INFINITY, (2.0 * THETA_LIMIT) as f32, f32::INFINITY];
        (high.iter().map(|x| -x).collect(), high)
    }

    fn start(rng: &mut StreamRng) -> [f64; 4] {
        std::array::from_fn(|_| between(rng, -0.05, 0.05))
    }

    #[inline]
    fn advance(state: &mut [f64; 4], action: u32) -> (f64, bool) {
        let [x, x_dot, theta, theta_dot] = *state;
        let force = if action == 1 { FORCE } else { -FORCE };
        let (sin, cos) = theta.sin_cos();
        // The order of operations is that of Gymnasium, so that results agree to the last bit where sine and cosine do.
        let temp = (force + POLE_MASS_LENGTH * (theta_dot * theta_dot) * sin) / TOTAL_MASS;
        let theta_acc = (GRAVITY * sin - cos * temp) / (LENGTH * (4.0 / 3.0 - POLE_MASS * (cos * cos) / TOTAL_MASS));
        let x_acc = temp - POLE_MASS_LENGTH * theta_acc * cos / TOTAL_MASS;
        *state = [x + TAU * x_dot, x_dot + TAU * x_acc, theta + TAU * theta_dot, theta_dot + TAU * theta_acc];
        (1.0, state[0].abs() > X_LIMIT || state[2].abs() > THETA_LIMIT)
    }

    #[inline]
    fn observe(state: &[f64; 4]) -> [f32; 4] {
        state.map(|x| x as f32)
    }
}
