use candle_core::Device;
use retune::backbone::*;
use retune::nn::fused::threads::{run, set_threads, with_threads};
use retune::nn::*;
use retune::rng::Seed;
fn main() {
    let threads: usize = std::env::args().nth(1).map_or(1, |s| s.parse().unwrap());
    let what = std::env::args().nth(2).unwrap_or("all".into());
    set_threads(threads);
    let w = {
        use retune_assets::minilm_l3::{CONFIG, NAME, TOKENIZER, WEIGHTS};
        Weights::from_bytes(NAME, CONFIG, TOKENIZER, WEIGHTS, &LoadOptions::default()).unwrap()
    };
    let reps = 10;
    for mode in [TrainMode::Frozen, TrainMode::Full, TrainMode::Lora] {
        for (n, t) in [(1, 32), (32, 32), (32, 64)] {
            if n != 32 || t != 32 {
                if mode != TrainMode::Frozen {
                    continue;
                }
            }
            let name = format!("{mode:?}{n}x{t}");
            if what != "all" && what != name {
                continue;
            }
            let mut store = ParamStore::new(&Device::Cpu, Seed::root(0));
            let o = BackboneOptions { mode, ..Default::default() };
            let b = Backbone::new(&w, &o, &mut store).unwrap();
            let toks: Vec<Tokens> = (0..n)
                .map(|i| {
                    let mut ids = vec![101u32];
                    ids.extend((0..t - 2).map(|j| 1000 + ((i * 7919 + j * 104729) % 20000) as u32));
                    ids.push(102);
                    Tokens::new(ids, vec![0; t]).unwrap()
                })
                .collect();
            let refs: Vec<&Tokens> = toks.iter().collect();
            let mut opt = AdamW::new(AdamWConfig::default()).unwrap();
            let mut best = f64::MAX;
            let mut tot = vec![];
            for r in 0..(if n == 1 { 200 } else { reps }) {
                let t0 = cpu();
                run(|| {
                    if mode == TrainMode::Frozen {
                        std::hint::black_box(b.encode_detached(&store, &refs).unwrap());
                    } else {
                        let y = b.encode(&store, &refs).unwrap();
                        let loss = y.sqr().unwrap().mean_all().unwrap();
                        let g = Gradients::of(&loss, &store, r).unwrap();
                        opt.step(&store, &g).unwrap();
                    }
                });
                let d = cpu() - t0;
                best = best.min(d);
                tot.push(d);
            }
            tot.sort_by(f64::total_cmp);
            println!("{name} threads {threads}: min {:.2} ms median {:.2}", best * 1e3, tot[tot.len() / 2] * 1e3);
        }
    }
}

fn cpu() -> f64 {
    std::fs::read_to_string("/proc/self/schedstat").unwrap().split(' ').next().unwrap().parse::<f64>().unwrap() / 1e9
}
