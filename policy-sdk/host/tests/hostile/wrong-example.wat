  ;; ok(setup { examples: [{ connection: …, request: none, expect: deny }] }), and it allows everything.
  (func $configure (result i32)
    (memory.fill (i32.const 512) (i32.const 0) (i32.const 256))
    (i32.store (i32.const 520) (i32.const 544))
    (i32.store (i32.const 524) (i32.const 1))
    (i32.store8 (i32.const 628) (i32.const 2))
    (i32.const 512))
  (func $decide (result i32) (call $allow))
