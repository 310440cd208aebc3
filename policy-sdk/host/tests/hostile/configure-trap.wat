  (func $configure (result i32) (unreachable))
  (func $decide (result i32) (call $allow))
