  ;; 4,000 private ranges, each the same 64 KiB of memory.
  (func $decide (result i32)
    (local $at i32)
    (memory.fill (i32.const 65536) (i32.const 49) (i32.const 65536))
    (local.set $at (i32.const 8192))
    (loop $again
      (i32.store (local.get $at) (i32.const 65536))
      (i32.store offset=4 (local.get $at) (i32.const 65536))
      (local.set $at (i32.add (local.get $at) (i32.const 8)))
      (br_if $again (i32.lt_u (local.get $at) (i32.const 40192))))
    (drop (call $allow))
    (i32.store (i32.const 1052) (i32.const 8192))
    (i32.store (i32.const 1056) (i32.const 4000))
    (i32.const 1024))
