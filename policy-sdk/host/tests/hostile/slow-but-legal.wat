  ;; Takes its time, and answers.
  (func $decide (result i32)
    (local $round i32)
    (loop $again
      (local.set $round (i32.add (local.get $round) (i32.const 1)))
      (br_if $again (i32.lt_u (local.get $round) (i32.const 10000000))))
    (call $allow))
