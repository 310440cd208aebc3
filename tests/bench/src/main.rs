//! What `make bench` runs: each subcommand prints one section of `BENCHMARKS.md`.

mod chains;
mod classify;
mod control;
mod decisions;
mod door;
mod fleet;
mod inference;
/// Gateways in processes of their own.
#[path = "../../../gateway/tests/it/world/process.rs"]
mod process;
mod proxies;
mod records;
mod replay;
mod report;
mod starts;
mod swaps;
/// A gateway in this process, and supervisors that speak its protocol: the gateway's own tests use them.
#[path = "../../../gateway/tests/it/world/mod.rs"]
mod world;

use clap::{Parser, Subcommand};

/// Measures, and prints Markdown.
#[derive(Parser)]
struct Args {
    #[command(subcommand)]
    section: Section,
}

#[derive(Subcommand)]
enum Section {
    /// One decision: natively, memoized, by a reused instance, by a fresh one.
    Decisions {
        /// Memory of an instance that stays mapped for the next one, in bytes; by default the product's.
        #[arg(long)]
        keep_resident: Option<usize>,
    },
    /// The proxy beside Squid, mitmproxy (`MITMDUMP` names its program) and hudsucker (`HUDSUCKER`).
    Proxies {
        /// Length of each measurement.
        #[arg(long, default_value_t = 5)]
        seconds: u64,
    },
    /// The client of `proxies`; prints JSON.
    #[command(hide = true)]
    Load(proxies::load::Load),
    /// The origin of `proxies`.
    #[command(hide = true)]
    Origin {
        /// On 127.0.0.1.
        #[arg(long)]
        port: u16,
        /// Holds `cert.pem` and `key.pem`.
        #[arg(long)]
        directory: std::path::PathBuf,
    },
    /// Nothing but decisions of one policy, for a profiler.
    #[command(hide = true)]
    Spin {
        /// Part of its name.
        policy: String,
        /// Questions that one instance answers.
        #[arg(long, default_value_t = 0)]
        reuse: u32,
        /// Remember verdicts.
        #[arg(long)]
        memoize: bool,
        /// How long, in seconds.
        #[arg(long, default_value_t = 5)]
        seconds: u64,
    },
    /// `connect(2)` as it is caught, beside few and many processes; memory of idle tunnels.
    Door {
        /// How many connections are timed.
        #[arg(long, default_value_t = 2000)]
        count: u32,
        /// How many are held.
        #[arg(long, default_value_t = 10_000)]
        tunnels: u32,
    },
    /// The client of `door`; prints JSON.
    #[command(hide = true)]
    Dial(door::dial::Dial),
    /// One reading of a request by the privacy router, as Wasm.
    Classify {
        /// A router's component instead of the built-in one's.
        #[arg(long)]
        router: Option<std::path::PathBuf>,
    },
    /// `inference.local` beside Portkey's gateway (`PORTKEY` names its script) and the LiteLLM proxy (`LITELLM`); what routing costs.
    Inference {
        /// Length of each measurement.
        #[arg(long, default_value_t = 5)]
        seconds: u64,
    },
    /// The client of `inference`; prints JSON.
    #[command(hide = true)]
    Ask(inference::load::Ask),
    /// The mock model of `inference`.
    #[command(hide = true)]
    Model {
        /// On 127.0.0.1.
        #[arg(long)]
        port: u16,
    },
    /// `sandbox create` to the workload's first instruction, in each runtime, and a bare `docker run`.
    Starts {
        /// How many of each.
        #[arg(long, default_value_t = 20)]
        count: u32,
        /// Image that the engine has.
        #[arg(long, default_value = "openshell-test/debian")]
        image: String,
    },
    /// Decisions through chains of modules, and beside hostile ones.
    Chains,
    /// Pushes to many simulated supervisors.
    Fleet {
        /// How many.
        #[arg(long, default_value_t = 1000)]
        count: usize,
        /// Pushes of each kind.
        #[arg(long, default_value_t = 5)]
        rounds: usize,
    },
    /// A gateway with many supervisors: memory, processor time, reads, and how it comes back.
    Control {
        /// How many.
        #[arg(long, default_value_t = 1000)]
        count: usize,
    },
    /// The cost of decision records.
    Records {
        /// Records a second.
        #[arg(long, default_value_t = 10_000)]
        rate: u32,
        /// For so long.
        #[arg(long, default_value_t = 10)]
        seconds: u64,
    },
    /// `policy replay` over many decisions.
    Replay {
        /// How many.
        #[arg(long, default_value_t = 1_000_000)]
        count: u32,
    },
    /// Pushes to a live sandbox under load: time to enforcing, failed requests, resident memory.
    Swaps {
        /// How many pushes.
        #[arg(long, default_value_t = 1000)]
        count: u32,
    },
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    match Args::parse().section {
        Section::Decisions { keep_resident } => decisions::run(keep_resident),
        Section::Proxies { seconds } => proxies::run(seconds).await,
        Section::Load(load) => {
            println!("{}", serde_json::to_string(&proxies::load::run(load).await?)?);
            Ok(())
        }
        Section::Origin { port, directory } => proxies::origin::run(port, &directory).await,
        Section::Spin { policy, reuse, memoize, seconds } => {
            decisions::spin(&policy, reuse, memoize, std::time::Duration::from_secs(seconds))
        }
        Section::Door { count, tunnels } => tokio::task::block_in_place(|| door::run(count, tunnels)),
        Section::Dial(dial) => {
            println!("{}", serde_json::to_string(&door::dial::run(&dial)?)?);
            Ok(())
        }
        Section::Classify { router } => classify::run(router.as_deref()),
        Section::Inference { seconds } => inference::run(seconds).await,
        Section::Ask(ask) => {
            println!("{}", serde_json::to_string(&inference::load::run(ask).await?)?);
            Ok(())
        }
        Section::Model { port } => inference::mock::run(port).await,
        Section::Starts { count, image } => starts::run(count, &image),
        Section::Chains => chains::run(),
        Section::Fleet { count, rounds } => fleet::run(count, rounds).await,
        Section::Control { count } => control::run(count).await,
        Section::Records { rate, seconds } => records::run(rate, seconds).await,
        Section::Replay { count } => replay::run(count),
        Section::Swaps { count } => swaps::run(count).await,
    }
}
