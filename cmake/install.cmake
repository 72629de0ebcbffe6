# What `cmake --install` puts where: headers, both libraries, the programs, the CMake package and the pkg-config file.

include(CMakePackageConfigHelpers)

install(TARGETS mqttq mqttq_static EXPORT mqttqTargets
  LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR}
  ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(DIRECTORY "${PROJECT_SOURCE_DIR}/include/mqttq" DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}
  FILES_MATCHING PATTERN "*.h")
foreach(program IN ITEMS mqttq-server mqttq-inspect)
  if(TARGET ${program})
    install(TARGETS ${program} RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
  endif()
endforeach()

set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/mqttq)
install(EXPORT mqttqTargets NAMESPACE mqttq:: DESTINATION ${package_dir})
configure_package_config_file(cmake/mqttqConfig.cmake.in "${PROJECT_BINARY_DIR}/mqttqConfig.cmake"
  INSTALL_DESTINATION ${package_dir} NO_SET_AND_CHECK_MACRO)
# Before 1.0 a minor version may change the ABI; from 1.0 on this becomes SameMajorVersion.
write_basic_package_version_file("${PROJECT_BINARY_DIR}/mqttqConfigVersion.cmake" COMPATIBILITY SameMinorVersion)
install(FILES "${PROJECT_BINARY_DIR}/mqttqConfig.cmake" "${PROJECT_BINARY_DIR}/mqttqConfigVersion.cmake"
  DESTINATION ${package_dir})

# From where the file lies, so that the tree may be installed or moved under any prefix.
set(pkgconfig_dir "${CMAKE_INSTALL_FULL_LIBDIR}/pkgconfig")
file(RELATIVE_PATH pc_to_prefix "${pkgconfig_dir}" "${CMAKE_INSTALL_PREFIX}")
string(REGEX REPLACE "/$" "" pc_to_prefix "${pc_to_prefix}")
file(RELATIVE_PATH prefix_to_libdir "${CMAKE_INSTALL_PREFIX}" "${CMAKE_INSTALL_FULL_LIBDIR}")
file(RELATIVE_PATH prefix_to_includedir "${CMAKE_INSTALL_PREFIX}" "${CMAKE_INSTALL_FULL_INCLUDEDIR}")
set(MQTTQ_PC_JSON "")
if(MQTTQ_HAVE_JSON)
  set(MQTTQ_PC_JSON " simdjson")
endif()
configure_file(cmake/mqttq.pc.in "${PROJECT_BINARY_DIR}/mqttq.pc" @ONLY)
install(FILES "${PROJECT_BINARY_DIR}/mqttq.pc" DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
