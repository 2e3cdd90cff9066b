# A build with make -j4: nothing is built twice, nothing is missed after a change (times have to be right for it).
units=30
[ "$SOAK_LENGTH" = short ] || units=400
mkdir part
for i in $(seq "$units"); do
  printf '#include "part/shared%d.h"\n#include <stdio.h>\nint unit%d(int x) { return x * SHARED + %d; }\n' $((i % 5)) "$i" "$i" >"part/unit$i.c"
done
for h in 0 1 2 3 4; do echo '#define SHARED 3' >"part/shared$h.h"; done
{
  for i in $(seq "$units"); do echo "int unit$i(int);"; done
  echo '#include <stdio.h>'
  echo 'int main(void) { long sum = 0;'
  for i in $(seq "$units"); do echo "sum += unit$i(1);"; done
  echo 'printf("%ld\n", sum); return 0; }'
} >main.c
cat >Makefile <<'MAKE'
sources := main.c $(wildcard part/*.c)
objects := $(sources:.c=.o)
program: libparts.a main.o
	$(CC) -o $@ main.o libparts.a
libparts.a: $(filter-out main.o,$(objects))
	ar rcs $@ $^
%.o: %.c
	$(CC) -I. -MMD -MP -O1 -c -o $@ $<
-include $(objects:.o=.d)
MAKE
expected() { echo $((units * $1 + units * (units + 1) / 2)); }
make -s -j4
[ "$(./program)" = "$(expected 3)" ]
make -q
echo '#define SHARED 4' >part/shared0.h
[ "$(make -n | grep -c -- ' -c -o part/')" = $((units / 5)) ]
for h in 0 1 2 3 4; do echo '#define SHARED 5' >"part/shared$h.h"; done
make -s -j4
[ "$(./program)" = "$(expected 5)" ]
make -q
echo "$units units, built twice"
