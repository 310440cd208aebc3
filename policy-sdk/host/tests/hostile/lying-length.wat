  (func $decide (result i32) (call $deny (i32.const 64) (i32.const 0x7fffffff)))
