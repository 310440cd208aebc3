//! Rebuilds when the sources that are carried in the binary change: `include_dir!` does not see new files.

fn main() {
    for directory in ["../policy-sdk/guest", "../policy-sdk/wit"] {
        println!("cargo:rerun-if-changed={directory}");
    }
}
