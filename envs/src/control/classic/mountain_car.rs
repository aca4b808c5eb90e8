//! MountainCar-v0.

use super::Physics;
use super::env::between;
use retune::rng::StreamRng;

const MIN_POSITION: f64 = -1.2;
const MAX_POSITION: f64 = 0.6;
const MAX_SPEED: f64 = 0.07;
const GOAL: f64 = 0.5;
const FORCE: f64 = 0.001;
const GRAVITY: f64 = 0.0025;

/// A car that is too weak to climb a hill at once (Moore, 1990), to the equations of MountainCar-v0 in Gymnasium 1.4:
/// `f64` inside, observations rounded to `f32`.
///
/// | index | observation | range |
/// |---|---|---|
/// | 0 | position; the valley is at −0.52 | −1.2 to 0.6 |
/// | 1 | position gained per step | −0.07 to 0.07 |
///
/// Action 0 accelerates to the left, 1 not at all, 2 to the right. Every step costs 1. The car begins at rest, uniformly
/// in −0.6 to −0.4. The episode terminates at position 0.5 if the velocity is not negative, and is truncated after
/// 200 steps.
#[derive(Clone, Debug)]
pub struct MountainCarPhysics;

impl Physics for MountainCarPhysics {
    type State = [f64; 2];
    type Obs = [f32; 2];

    const ID: &str = "control/mountain_car";
    const DESCRIPTION: &str = "Rock a weak car out of a valley.";
    const NUM_ACTIONS: u32 = 3;
    const TIME_LIMIT: u64 = 200;
    const REWARD_RANGE: (f64, f64) = (-1.0, -1.0);

    fn bounds() -> (Vec<f32>, Vec<f32>) {
        (vec![MIN_POSITION as f32, -MAX_SPEED as f32], vec![MAX_POSITION as f32, MAX_SPEED as f32])
    }

    fn start(rng: &mut StreamRng) -> [f64; 2] {
        [between(rng, -0.6, -0.4), 0.0]
    }

    #[inline]
    fn advance(state: &mut [f64; 2], action: u32) -> (f64, bool) {
        let [mut position, mut velocity] = *state;
        velocity += (f64::from(action) - 1.0) * FORCE + (3.0 * position).cos() * -GRAVITY;
        velocity = velocity.clamp(-MAX_SPEED, MAX_SPEED);
        position = (position + velocity).clamp(MIN_POSITION, MAX_POSITION);
        if position == MIN_POSITION && velocity < 0.0 {
            velocity = 0.0;
        }
        *state = [position, velocity];
        (-1.0, position >= GOAL && velocity >= 0.0)
    }

    #[inline]
    fn observe(state: &[f64; 2]) -> [f32; 2] {
        state.map(|x| x as f32)
    }
}
