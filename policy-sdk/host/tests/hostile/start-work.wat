  ;; Prepares itself when it begins, which is legal; what it prepared is there when it is asked.
  (global $ready (mut i32) (i32.const 0))
  (func $begin
    (local $round i32)
    (loop $again
      (local.set $round (i32.add (local.get $round) (i32.const 1)))
      (br_if $again (i32.lt_u (local.get $round) (i32.const 1000000))))
    (global.set $ready (local.get $round)))
  (start $begin)
  (func $decide (result i32)
    (if (i32.ne (global.get $ready) (i32.const 1000000)) (then (unreachable)))
    (call $allow))
