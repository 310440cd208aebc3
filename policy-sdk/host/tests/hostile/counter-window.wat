  (import "openshell:policy/counters@0.1.0" "add" (func $add (param i32 i32 i64 i32) (result i64)))
  (func $decide (result i32)
    (drop (call $add (i32.const 64) (i32.const 4) (i64.const 1) (i32.const 0)))
    (call $allow))
