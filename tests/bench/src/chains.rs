//! Decisions through whole chains, and beside policies that do everything but answer.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Result;
use openshell_policy_host::{
    Artifact, Chains, Compiler, Connection, Engine, EngineOptions, HttpRequest, LoadOptions, NoLog, NoView, Policy,
    Process, Quarantine, Scheme, SigningKey, View, types::Capture,
};

use crate::report::{Samples, time};

const ROUNDS: usize = 400;
/// Single decisions whose times are looked at one by one, in each turn.
const SINGLE: usize = 10_000;
/// Turns that each neighbour gets, one after the other: what else the machine does meets all of them alike.
const TURNS: usize = 9;

/// Prints both.
pub fn run() -> Result<()> {
    let bench = Bench::new()?;
    println!("## One `request` decision through a chain\n");
    println!("Modules of four rules each, every one asked; the settled decision with everybody's votes.\n");
    println!("| modules | remembered | fresh instances |\n|---|---|---|");
    for count in [1, 3, 10] {
        let chain = |memoize| -> Result<Chains> {
            let own = (0..count).map(|n| bench.policy("four-rules", "{}", &format!("p{n}"), memoize));
            Ok(Chains { own: own.collect::<Result<_>>()?, ..Chains::default() })
        };
        let measure = |chains: &Chains, batch| Samples::of(ROUNDS, batch, || bench.ask(chains));
        let (remembered, fresh) = (measure(&chain(true)?, 1_000), measure(&chain(false)?, 100));
        println!("| {count} | {} | {} |", remembered.cell(), fresh.cell());
    }
    println!();
    innocent(&bench)
}

/// The times of an innocent policy while another thread asks hostile ones, in the same process and engine.
fn innocent(bench: &Bench) -> Result<()> {
    let chain = |policy: Policy| Chains { own: vec![policy], ..Chains::default() };
    let innocent = chain(bench.policy("four-rules", "{}", "innocent", false)?);
    let mut others = vec![
        Neighbour::new("nobody", None),
        Neighbour::new("an innocent one", Some(chain(bench.policy("four-rules", "{}", "other", false)?))),
    ];
    for how in ["loop", "memory", "panic", "recursion", "slow"] {
        let hostile = bench.policy("hostile", &format!(r#"{{"{how}": {{}}}}"#), how, false)?;
        others.push(Neighbour::new(how, Some(chain(hostile))));
    }
    for _ in 0..TURNS {
        for other in &mut others {
            other.beside(bench, &innocent);
        }
    }
    println!("## An innocent policy beside a hostile one\n");
    println!(
        "Fresh instances, one decision at a time, while another thread asks the hostile policy without a rest, in {TURNS} turns of \
         {SINGLE}: the median turn. A thread that works has its price on this machine whatever it does: that is the second line.\n"
    );
    println!("| beside | median | p99 | p99, times alone | p99, times beside an innocent one | its decisions |");
    println!("|---|---|---|---|---|---|");
    let p99s: Vec<f64> = others.iter().map(|other| other.median(0.99)).collect();
    for (other, p99) in others.iter().zip(&p99s) {
        println!(
            "| {} | {} | {} | {:.2} | {:.2} | {} |",
            other.name,
            time(other.median(0.5)),
            time(*p99),
            p99 / p99s[0],
            p99 / p99s[1],
            other.asked
        );
    }
    println!();
    Ok(())
}

/// Whom the innocent policy lives beside.
struct Neighbour {
    name: &'static str,
    chain: Option<Chains>,
    turns: Vec<Samples>,
    asked: u64,
}

impl Neighbour {
    fn new(name: &'static str, chain: Option<Chains>) -> Self {
        Self { name, chain, turns: Vec::new(), asked: 0 }
    }

    /// One turn of the innocent one beside it.
    fn beside(&mut self, bench: &Bench, innocent: &Chains) {
        let (stop, asked) = (AtomicBool::new(false), AtomicU64::new(0));
        let samples = std::thread::scope(|scope| {
            if let Some(chain) = &self.chain {
                scope.spawn(|| {
                    while !stop.load(Ordering::Relaxed) {
                        std::hint::black_box(bench.ask(chain));
                        asked.fetch_add(1, Ordering::Relaxed);
                    }
                });
                // Until it is at it.
                while asked.load(Ordering::Relaxed) == 0 {
                    std::thread::yield_now();
                }
            }
            let samples = Samples::of(SINGLE, 1, || bench.ask(innocent));
            stop.store(true, Ordering::Relaxed);
            samples
        });
        self.turns.push(samples);
        self.asked += asked.into_inner();
    }

    /// The median over the turns of what this share of their decisions took at most, in nanoseconds.
    fn median(&self, share: f64) -> f64 {
        Samples::from(self.turns.iter().map(|turn| turn.quantile(share)).collect()).quantile(0.5)
    }
}

struct Bench {
    compiler: Compiler,
    engine: Engine,
    key: SigningKey,
    components: Vec<(&'static str, Vec<u8>)>,
    connection: Connection,
    request: HttpRequest,
}

impl Bench {
    fn new() -> Result<Self> {
        let mut components = Vec::new();
        for name in ["four-rules", "hostile"] {
            let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
            components.push((name, openshell_policy_build::build(&directory, &Default::default())?.component));
        }
        Ok(Self {
            compiler: Compiler::new()?,
            engine: Engine::new(EngineOptions::default())?,
            key: SigningKey::from_bytes(&[7; 32]),
            components,
            connection: Connection {
                sandbox: "bench".into(),
                process: Process { executable: "/usr/bin/curl".into(), digest: "0".repeat(64), script: None },
                host: "api.github.com".into(),
                port: 443,
                capture: Capture::Transparent,
            },
            request: HttpRequest {
                method: "GET".into(),
                scheme: Scheme::Https,
                path: "/repos/a/b".into(),
                query: None,
            },
        })
    }

    fn policy(&self, component: &str, settings: &str, binding: &str, memoize: bool) -> Result<Policy> {
        let (_, bytes) = self.components.iter().find(|(name, _)| *name == component).expect("it was built");
        let settings = serde_json::from_str(settings)?;
        let artifact = self.compiler.compile(bytes, component, "1.0.0", &settings, &self.key)?;
        let opened = Artifact::open(&artifact.bytes, &artifact.digest, &self.key.verifying_key())?;
        let mut options = LoadOptions::new(binding, opened.manifest().imports.clone());
        options.log = Arc::new(NoLog);
        // The hostile ones are to be asked again and again.
        options.quarantine = Quarantine { after: u32::MAX, cooldown: Duration::ZERO };
        options.memo_bytes = if memoize { options.memo_bytes } else { 0 };
        Ok(self.engine.load(&opened, options)?)
    }

    fn ask(&self, chains: &Chains) -> openshell_policy_host::Decision {
        let view: Arc<dyn View> = Arc::new(NoView);
        chains.request(&self.connection, &self.request, &view)
    }
}
