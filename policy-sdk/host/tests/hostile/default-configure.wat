  ;; ok(setup { body-cap: 0, examples: [] })
  (func $configure (result i32)
    (memory.fill (i32.const 512) (i32.const 0) (i32.const 32))
    (i32.const 512))
