  (import "openshell:policy/view@0.1.0" "body" (func $body (param i32)))
  (func $decide (result i32)
    (loop $again
      (call $body (i32.const 256))
      (call $reset)
      (br $again))
    (unreachable))
