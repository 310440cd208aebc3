use std::fs;

use openshell_api::launch::{STATUS_FILE, SupervisorStatus};

use super::World;
use crate::supervisor::state::{StateDir, StateError};

#[test]
fn two_supervisors_never_share_a_directory() {
    let world = World::new();
    let first = StateDir::open(world.dir.path()).expect("free");
    assert!(matches!(StateDir::open(world.dir.path()), Err(StateError::InUse { .. })));
    drop(first);
    StateDir::open(world.dir.path()).expect("free again");
}

#[test]
fn a_write_that_did_not_finish_leaves_the_old_content() {
    let world = World::new();
    let state = StateDir::open(world.dir.path()).expect("free");
    state.write("file", b"old").expect("writes");
    state.write_aside("file.new", b"half of the n").expect("writes");
    drop(state);
    let state = StateDir::open(world.dir.path()).expect("free");
    assert_eq!(state.read("file").expect("reads"), Some(b"old".to_vec()));
    assert!(!world.path("file.new").exists(), "leftovers are swept");
    assert_eq!(state.read("nothing").expect("reads"), None);
}

#[test]
fn the_status_file_names_this_process() {
    let world = World::new();
    let state = StateDir::open(world.dir.path()).expect("free");
    state.write_status("some-id").expect("writes");
    let status: SupervisorStatus =
        serde_json::from_slice(&fs::read(world.path(STATUS_FILE)).expect("reads")).expect("parses");
    assert_eq!((status.pid, status.sandbox_id.as_str()), (std::process::id(), "some-id"));
    assert!(status.start_time > 0);
}
