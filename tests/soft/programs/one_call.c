/* One CUDA call: what start-up costs. */
#include "driver.h"

int main(void)
{
    int version;
    load_driver();
    CHECK(cuInit(0));
    CHECK(cuDriverGetVersion(&version));
    return version < 12000;
}
