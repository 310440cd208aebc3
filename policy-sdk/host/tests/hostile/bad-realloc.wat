  ;; The strings of its arguments go where the heap ends up: nowhere.
  (func $configure (result i32)
    (global.set $heap (i32.const 0x7ffffff0))
    (memory.fill (i32.const 512) (i32.const 0) (i32.const 32))
    (i32.const 512))
  (func $decide (result i32) (call $allow))
