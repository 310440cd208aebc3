  (import "openshell:policy/view@0.1.0" "label" (func $label (param i32 i32 i32)))
  (func $decide (result i32)
    (loop $again
      (call $label (i32.const 64) (i32.const 4) (i32.const 256))
      (call $reset)
      (br $again))
    (unreachable))
