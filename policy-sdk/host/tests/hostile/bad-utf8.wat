  (data (i32.const 128) "\ff\fe")
  (func $decide (result i32) (call $deny (i32.const 128) (i32.const 2)))
