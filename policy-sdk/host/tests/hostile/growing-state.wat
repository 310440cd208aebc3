  ;; Keeps a megabyte of every question it is asked.
  (func $decide (result i32)
    (drop (memory.grow (i32.const 16)))
    (call $allow))
