/* The driver API through dlopen: PTX text, globals, both ways to pass parameters. */
#include "driver.h"

int main(void)
{
    load_driver();
    compute(3);
    compute(5); /* once more, with a second context after the first has gone */
    puts("ok");
    return 0;
}
