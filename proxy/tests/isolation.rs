//! Real sandboxes and real programs: what gets out, as whom, and what does not.
//!
//! Needs root or unprivileged user namespaces; without either, every test is reported as ignored. This executable is
//! also its sandboxes' init, and a supervisor that can be killed (see [`main`]).

use libtest_mimic::{Arguments, Failed, Trial};

#[path = "isolation/connections.rs"]
mod connections;
#[path = "isolation/lifecycle.rs"]
mod lifecycle;
#[path = "isolation/proof.rs"]
mod proof;
#[path = "isolation/walls.rs"]
mod walls;
#[path = "isolation/world.rs"]
mod world;

/// A test: async, in a runtime of its own.
type Test = (&'static str, fn() -> Result<(), Failed>);

/// Names a list of `async fn(…) -> Result<(), Failed>`.
macro_rules! tests {
    ($($name:ident),* $(,)?) => {
        pub fn tests() -> Vec<crate::Test> {
            vec![$((stringify!($name), || crate::world::block_on($name()))),*]
        }
    };
}
pub(crate) use tests;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    match arguments.get(1).map(String::as_str) {
        Some(openshell_proxy::isolation::INIT_ARGUMENT) => openshell_proxy::isolation::init::main(0),
        Some("--supervise") => world::block_on(lifecycle::supervise()),
        Some("--rootless") => {
            world::block_on(walls::rootless_check()).expect("the rootless sandbox holds");
            return;
        }
        _ => {}
    }
    let ignored = match world::can_seal() {
        true => false,
        false => {
            eprintln!("neither root nor user namespaces: no sandbox can be sealed here; its tests are ignored");
            true
        }
    };
    let tests = [connections::tests(), walls::tests(), proof::tests(), lifecycle::tests()].concat();
    let trials = tests.into_iter().map(|(name, test)| Trial::test(name, test).with_ignored_flag(ignored)).collect();
    libtest_mimic::run(&Arguments::from_args(), trials).exit();
}
