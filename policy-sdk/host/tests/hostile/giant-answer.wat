  ;; A hundred megabytes of reason.
  (func $decide (result i32)
    (drop (memory.grow (i32.const 1600)))
    (call $deny (i32.const 64) (i32.const 100000000)))
