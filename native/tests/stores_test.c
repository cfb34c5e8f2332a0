/* Stores to a device: in their order, and made by somebody whoever comes meanwhile. */
#include "engine/device/stores.h"

#include <pthread.h>
#include <stdbool.h>

#include "engine/device/driver.h"
#include "tests/check.h"

static struct {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool shut;    /* a call does not return */
    bool reached; /* one is in it */
    uint32_t values[8], count;
} device = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};

static void store(struct driver *driver, CUdeviceptr word, uint32_t value)
{
    (void)driver, (void)word;
    pthread_mutex_lock(&device.lock);
    device.reached = true;
    pthread_cond_broadcast(&device.changed);
    while (device.shut)
        pthread_cond_wait(&device.changed, &device.lock);
    device.values[device.count++] = value;
    pthread_mutex_unlock(&device.lock);
}

static const struct device_ops ops = {.store = store, .store_calls = true};

static void *go(void *driver)
{
    stores_go(driver);
    return NULL;
}

static void *settle(void *driver)
{
    stores_settle(driver);
    return NULL;
}

/* What is put while another thread is in a call is made by that one, whatever it came for. */
static void check_none_is_left(void *(*first)(void *))
{
    struct driver driver = {.ops = &ops};
    pthread_t thread;
    driver.stores = stores_open(&driver);
    CHECK(driver.stores);
    device.count = 0;
    device.reached = false;
    device.shut = true;
    device_store(&driver, 1, 1);
    CHECK(stores_wanted(&driver));
    CHECK(pthread_create(&thread, NULL, first, &driver) == 0);
    pthread_mutex_lock(&device.lock);
    while (!device.reached)
        pthread_cond_wait(&device.changed, &device.lock);
    pthread_mutex_unlock(&device.lock);
    device_store(&driver, 2, 2);
    device_store(&driver, 1, 3);
    stores_go(&driver); /* does not wait for the call */
    CHECK(!stores_wanted(&driver));
    pthread_mutex_lock(&device.lock);
    device.shut = false;
    pthread_cond_broadcast(&device.changed);
    pthread_mutex_unlock(&device.lock);
    pthread_join(thread, NULL);
    CHECK(device.count == 3);
    for (uint32_t i = 0; i < device.count; i++)
        CHECK(device.values[i] == i + 1);
    CHECK(!stores_wanted(&driver));
    stores_close(driver.stores);
}

int main(void)
{
    check_none_is_left(go);
    check_none_is_left(settle);
    return CHECK_RESULT();
}
