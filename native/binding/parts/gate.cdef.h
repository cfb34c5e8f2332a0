/* native/wire/gate.h */
struct tally_gate_peer {
    uint32_t uid, gid, pid, reserved;
    uint64_t process;
};
int tally_gate_install(uint32_t reserve, uint32_t per_process_max);
int tally_gate_event_fd(void);
uint64_t tally_gate_refused(void);
int tally_gate_peer(int fd, struct tally_gate_peer *peer);
uint32_t tally_descriptors_free(void);
